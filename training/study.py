"""Studies: sharing, ways to spread samples, tasks in words, cheap re-analysis, demonstrations.

    python training/study.py preset=toy what=tasks counts=[1,3,9] seeds=[0,1] out=runs/study
    python training/study.py preset=hb_medium what=tasks device=cuda out=runs/study_hb
    python training/study.py preset=toy_uneven what=scheduler seeds=[0,1,2] out=runs/spread
    python training/study.py preset=toy what=language out=runs/told
    python training/study.py preset=toy what=levers seeds=[0,1] out=runs/levers
    python training/study.py preset=toy_uneven what=demos seeds=[0,1] out=runs/shown
    python training/study.py preset=h1_demos demos=demos.safetensors what=demos out=runs/shown_h1

`tasks` trains on groups of 1, 3, … tasks, every task (or the first `cover`) once at every count,
with the same samples and the same updates on them per task; `scheduler` compares the ways to spread
samples over tasks; `language` compares learnt task embeddings with instructions, known and held
out; `levers` what is learnt, and paid, when less is searched again; `demos` the ways to use
recorded episodes, the toy's own or `demos=`, with as many own updates each. Words that are no key
of the study go to the training runs (`updates=1000`, `optim.lr=1e-3`). Every run is a folder that
resumes, the same command goes on where it stopped; last line: JSON.
"""

from __future__ import annotations

import training.quiet  # noqa: F401  before all that takes long

# isort: split
import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError

from training import study_demos
from training.checks import COUNT, NATURAL, SEED, Bounds, check_bounds
from training.cli import ConfigError, choose, describe
from training.config import TrainConfig
from training.door import interruptible, reason
from training.lock import alone
from training.output import prepare_file, prepare_folder
from training.presets import PRESETS
from training.scheduler import KINDS as SCHEDULES
from training.study_report import report
from training.study_runs import Run, environments, train_and_score
from training.toy import TOYS, WIDTHS

COSINES = 40  # updates between gradient cosines, where a preset measures none
KINDS = ("tasks", "scheduler", "language", "levers", "demos")
# what is searched, by its label: positions (0: all), share of the batch, every so many updates, for
# how many updates results count, and whether the searches' values count in the second half
LEVERS: dict[str, tuple[int, float, int, int, bool]] = {
    "all positions": (0, 1.0, 1, 0, False),
    "root": (1, 1.0, 1, 0, False),
    "half": (1, 0.5, 1, 0, False),
    "half, kept": (1, 0.5, 1, 200, False),
    "quarter, kept": (1, 0.25, 1, 200, False),
    "every 4th": (1, 0.5, 4, 0, False),
    "every 4th, kept": (1, 0.5, 4, 200, False),
    "every 4th, values": (1, 0.5, 4, 0, True),
    "every 4th, values, kept": (1, 0.5, 4, 200, True),
}


@dataclass(frozen=True)
class StudyConfig:
    """What a study can be told; everything else belongs to its runs."""

    what: str = "tasks"  # or scheduler, language, levers, demos
    out: str = "runs/study"  # folder of runs, table and chart
    counts: tuple[int, ...] = (1, 3, 9)  # tasks trained together (what=tasks)
    cover: int = 0  # first tasks that groups of every count cover, and that are compared; 0: all
    seeds: tuple[int, ...] = (0,)  # each trains every run once
    episodes: int = 16  # per task and score
    encoder: str = "hashed-ngrams-256"  # of the instructions (what=language)
    demonstrator: float = 1.0  # speed of the toy's demonstrator, of the full one (what=demos)
    chart: str = ""  # file.svg; empty: <out>/<what>.svg

    def __post_init__(self) -> None:
        if self.what not in KINDS:
            raise ConfigError(f"what={self.what!r}; there are {', '.join(KINDS)}")
        for name in ("seeds", "counts"):
            if not getattr(self, name):
                raise ConfigError(f"{name}=[]: expected one {name[:-1]} at least")
        check_bounds(
            self, {"seeds": SEED, "counts": COUNT, "cover": NATURAL, "episodes": COUNT,
                   "demonstrator": Bounds(0, 1, above=True)},
        )  # fmt: skip


def plan_tasks(study: StudyConfig, base: TrainConfig) -> list[Run]:
    """Return runs on consecutive groups of each count, batch and environments in proportion."""
    per_task = base.optim.batch // len(base.tasks)
    runs = []
    for count in study.counts:
        if not 1 <= count <= len(base.tasks):
            raise ConfigError(
                f"counts: {count} is not in 1..{len(base.tasks)}, the tasks there are"
            )
        starts = range(0, len(base.tasks) - count + 1, count)
        for start in starts:
            if study.cover and start >= study.cover:
                break
            tasks = base.tasks[start : start + count]
            optim = dataclasses.replace(base.optim, batch=per_task * count)
            every = base.cosine_every or COSINES  # gradients are what this study is about, too
            own = dataclasses.replace(base, tasks=tasks, optim=optim, cosine_every=every)
            runs.append(Run(str(count), own))
    return runs


def plan_scheduler(study: StudyConfig, base: TrainConfig) -> list[Run]:
    """Return a run of each way to spread samples."""
    del study
    return [
        Run(kind, dataclasses.replace(base, schedule=dataclasses.replace(base.schedule, kind=kind)))
        for kind in SCHEDULES
    ]


def plan_language(study: StudyConfig, base: TrainConfig) -> list[Run]:
    """Return a run with learnt embeddings and one that is told by instructions."""
    from training import language, toy

    texts = toy.instructions() if base.preset in TOYS else language.instructions(base.tasks)
    vectors = Path(study.out) / f"phrases_{study.encoder.replace('/', '_')}.safetensors"
    language.write(vectors, texts, language.open_encoder(study.encoder))
    return [
        Run("learnt", dataclasses.replace(base, language="")),
        Run("told", dataclasses.replace(base, language=str(vectors))),
    ]


def plan_levers(study: StudyConfig, base: TrainConfig) -> list[Run]:
    """Return a run of each way to search less."""
    del study
    runs = []
    for label, (positions, share, every, staleness, values) in LEVERS.items():
        targets = dataclasses.replace(
            base.targets, reanalyse_positions=positions or base.targets.unroll + 1,
            reanalyse_share=share, reanalyse_every=every, policy_staleness=staleness,
            search_value_after=base.updates // 2 if values else 10**9, search_value_newest=0,
        )  # fmt: skip
        runs.append(Run(label, dataclasses.replace(base, targets=targets)))
    return runs


def shown_in(study: StudyConfig) -> Path:
    """Return the file of what the toy's demonstrator shows, another one for every speed."""
    return Path(study.out) / f"demos_{study.demonstrator:g}.safetensors"


def plan_demos(study: StudyConfig, base: TrainConfig) -> list[Run]:
    """Return a run of each way to use demonstrations; the toy's are recorded first."""
    if base.preset in TOYS and not base.demos:
        environments(base)  # which refuses unknown tasks
        file = shown_in(study)
        action_map = base.collect.action_map
        study_demos.show(file, base.tasks, WIDTHS[base.preset], study.demonstrator, action_map)
        base = dataclasses.replace(base, demos=str(file))
    return study_demos.ways(base)


PLANS = {
    "tasks": plan_tasks, "scheduler": plan_scheduler, "language": plan_language,
    "levers": plan_levers, "demos": plan_demos,
}  # fmt: skip


def study(config: StudyConfig, base: TrainConfig) -> int:
    """Train and score every run that is not scored yet; print table and JSON, draw the chart."""
    out = Path(config.out)
    chart = Path(config.chart) if config.chart else out / f"{config.what}.svg"
    prepare_file(chart, "chart")
    results = []
    for seed in config.seeds:
        for number, run in enumerate(PLANS[config.what](config, base)):
            folder = out / f"{config.what}_{number:02d}_seed{seed}"
            own = dataclasses.replace(run.config, seed=seed, out=str(folder))
            done = train_and_score(Run(run.label, own), config.episodes)
            results.append(done)
            print(f"{run.label}: {', '.join(own.tasks)}; seed {seed}: {done.summary()}", flush=True)
    facts = report(config.what, results, chart)
    facts |= {"what": config.what, "preset": base.preset, "seeds": list(config.seeds)}
    if config.what == "demos" and base.preset in WIDTHS:
        scores = study_demos.worth(Path(base.demos or shown_in(config)), base)
        facts["demonstrator"] = {name: round(score, 3) for name, score in scores.items()}
        facts |= {} if base.demos else {"demonstrator_speed": config.demonstrator}
        print(f"\nthe demonstrator: {np.mean(list(scores.values())):.2f}")
    (out / f"{config.what}.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(json.dumps(facts))
    return 0


def split(words: list[str]) -> tuple[list[str], list[str]]:
    """Return the words of the study and those of its runs."""
    own = {item.name for item in dataclasses.fields(StudyConfig)}
    mine = [word for word in words if word.partition("=")[0] in own]
    return mine, [word for word in words if word not in mine]


@interruptible("the same command resumes")
def main() -> int:
    """Read the words and run the study."""
    words = [word for word in sys.argv[1:] if word not in ("-h", "--help")]
    mine, theirs = split(words)
    try:
        config = choose(mine, {"study": StudyConfig()}, "study")
        base = choose(theirs, PRESETS | TOYS, "toy")
        if len(words) < len(sys.argv) - 1:
            print(__doc__, *describe(config), "", "Of its runs:", *describe(base), sep="\n")
            return 0
        prepare_folder(Path(config.out))
        with alone(Path(config.out)):
            return study(config, base)
    except (ConfigError, KeyError) as error:
        print(f"error: {reason(error)}", file=sys.stderr)
        return 2
    except (FloatingPointError, OSError, SafetensorError) as error:  # of these, a full disk
        print(f"error: {reason(error)}; the same command resumes", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
