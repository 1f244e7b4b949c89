"""Choose by measurement: candidates that share their states, fitted and scored side by side.

    python distill/study.py what=targets ckpt=runs/h1_small out=runs/study
    python distill/study.py --help             every key, its default and type

what: teacher (measure first: search, search without wide candidates, policy mean, sampled policy),
labels (how noisy each target is: two searches of the same states), targets (T1 to T6), sizes
(history and width against latency), options (of the fit), rollouts (randomisation, noise and delay,
each candidate on states of its own). In every round each candidate's student drives its share of
the robots, all of them learn from all states, and the labels of a state come from one search. Ends
with a table and one JSON line, also in out/<what>.json.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from distill import report
from distill.candidates import CANDIDATES, Candidate, Shared, label_noise
from distill.config import DistillConfig, FitConfig, ReportConfig, RolloutConfig, StudentConfig
from distill.demonstrated import load_guide
from distill.plots import line_plot
from distill.proof import conditions, measure
from distill.teacher import Guide, Teacher
from training.checkpoint import CheckpointError
from training.cli import ConfigError, choose, describe
from training.files import write_text
from training.trainer import git_sha

WHAT = ("teacher", "labels", *CANDIDATES)


@dataclass(frozen=True)
class StudyConfig(DistillConfig):
    """A small distillation, and what is varied in it."""

    what: str = "targets"  # or teacher, labels, sizes, options, rollouts
    only: tuple[str, ...] = ()  # names of candidates; all if empty
    out: str = "runs/study"
    rollout: RolloutConfig = field(
        default_factory=lambda: RolloutConfig(rounds=5, envs_per_task=16, steps=150)
    )
    fit: FitConfig = field(default_factory=lambda: FitConfig(updates=200, final_updates=1000))
    report: ReportConfig = field(
        default_factory=lambda: ReportConfig(episodes=8, latency_calls=500)
    )

    def __post_init__(self) -> None:
        """Refuse a study or candidates that do not exist."""
        super().__post_init__()
        if self.what not in WHAT:
            raise ConfigError(f"what={self.what!r}; there are {', '.join(WHAT)}")
        known = [entry.name for entry in CANDIDATES.get(self.what, ())]
        strange = [name for name in self.only if name not in known]
        if strange:
            raise ConfigError(f"only={strange}: {self.what} has {', '.join(known) or 'none'}")


PRESETS = {
    "study": StudyConfig(preset="study"),
    "debug": StudyConfig(
        preset="debug",
        rollout=RolloutConfig(rounds=2, envs_per_task=3, steps=20, episode_steps=(15,)),
        student=StudentConfig(history=3, hidden=(16,)),
        fit=FitConfig(updates=3, final_updates=3, batch=16),
        report=ReportConfig(episodes=1, steps=15, latency_calls=5),
    ),
}

Row = dict[str, Any]


def study(config: StudyConfig) -> dict[str, Any]:
    """Run one study and return everything it found."""
    torch.set_num_threads(config.torch_threads)
    teacher = load_guide(config.ckpt, config.label, config.tasks)
    Path(config.out).mkdir(parents=True, exist_ok=True)
    facts = {"seed": config.seed, "commit": git_sha(), "teacher": teacher.facts}
    if config.what == "labels":
        return {"study": "labels", **measure_labels(config, teacher), **facts}
    reference = measure_first(config, teacher)
    rows: list[Row] = []
    if config.what != "teacher":
        everyone = CANDIDATES[config.what]
        picked = [entry for entry in everyone if not config.only or entry.name in config.only]
        for group in groups(picked):
            rows += run_group(config, teacher, group, reference)
    return {
        "study": config.what,
        "reference": reference,
        "rows": rows,
        "episodes": config.report.episodes,
        "steps": config.report.steps,
        **facts,
    }


def measure_labels(config: StudyConfig, teacher: Guide) -> dict[str, Any]:
    """Return and print the noise of every target, over one round's worth of states.

    Raises:
        ConfigError: the teacher does not search.
    """
    if not isinstance(teacher, Teacher):
        raise ConfigError("what=labels needs a planner: a demonstrator does not search")
    rows, steps = config.rollout.envs_per_task, config.rollout.steps
    found = label_noise(teacher, rows, steps, config.report.seed)
    print(f"{'label':14}{'noise':>9}{'moved from the policy':>24}")
    for name, entry in found.items():
        print(f"{name:14}{entry['noise']:9.4f}{entry['moved']:24.4f}")
    return {"labels": found, "states": rows * steps * len(teacher.tasks)}


def measure_first(config: StudyConfig, teacher: Guide) -> dict[str, dict[str, Any]]:
    """Measure the teacher's controllers; for other studies only those that retention needs."""
    acts = teacher.controllers(config.report.seed)
    names = list(acts) if config.what == "teacher" else ["random", teacher.reference]
    found = {}
    for name in names:
        found[name] = measure(
            acts[name], teacher.tasks, action_map=teacher.action_map, steps=config.report.steps,
            episodes=config.report.episodes, seed=config.report.seed, both=config.what == "teacher",
        )  # fmt: skip
        print(report.table({name: found[name]}, teacher.tasks), flush=True)
    return found


def groups(candidates: list[Candidate]) -> list[list[Candidate]]:
    """Return candidates that can share states: those with the same roll-outs."""
    found: dict[tuple, list[Candidate]] = {}
    for entry in candidates:
        found.setdefault(entry.rollout, []).append(entry)
    return list(found.values())


def run_group(
    config: StudyConfig, teacher: Guide, group: list[Candidate], reference: dict[str, Any]
) -> list[Row]:
    """Distil a group of candidates together and measure each."""
    shared = Shared(config, teacher, group)
    rows: list[Row] = []
    for number in range(shared.config.rollout.rounds):
        line = shared.round(number)
        print(f"round {number}: {line}", flush=True)
    for entry in group:
        pupil = shared.pupils[entry.name]
        row: Row = {"name": entry.name, **pupil.describe(Path(config.out), config.report)}
        for name, condition in conditions(config.rollout).items():
            if name == "delayed":
                continue
            make = report.student_maker(pupil.spec, pupil.student.infer)
            row[name] = measure(
                make(condition, config.report.seed), teacher.tasks,
                action_map=teacher.action_map, condition=condition, steps=config.report.steps,
                episodes=config.report.episodes, seed=config.report.seed,
            )  # fmt: skip
        row["retention"] = {
            task: report.retention(
                row["clean"][task]["mean"],
                reference["random"][task]["mean"],
                reference[teacher.reference][task]["mean"],
            )
            for task in teacher.tasks
        }
        print(table([row], teacher.tasks, head=not rows), flush=True)
        rows.append(row)
    return rows


def table(rows: list[Row], tasks: tuple[str, ...], head: bool = True) -> str:
    """Return a line per candidate: nominal return / randomised return, per task."""
    lines = []
    if head:
        columns = "".join(f"{f'{task}: nominal / randomised':>40}" for task in tasks)
        lines.append(f"{'':14}{'weights':>9}{'us':>7}{'rms':>7}{'rate':>7}{columns}")
    for row in rows:
        cells = ""
        for task in tasks:
            one, two = row["clean"][task], row["randomised"][task]
            text = f"{one['mean']:.0f} ± {one['std']:.0f} / {two['mean']:.0f} ± {two['std']:.0f}"
            cells += f"{text:>40}"
        rate = max(row["clean"][task]["action_rate"] for task in tasks)
        lines.append(
            f"{row['name']:14}{row['weights']:9d}{row['us']:7.0f}{row['rms']:7.3f}{rate:7.3f}{cells}"
        )
    return "\n".join(lines)


def finish(config: StudyConfig, found: dict[str, Any]) -> None:
    """Write the file and, for sizes, the curve; print the last line."""
    folder = Path(config.out)
    write_text(folder / f"{config.what}.json", json.dumps(found, indent=1) + "\n")
    if config.what == "labels":
        print(json.dumps(found))
        return
    if config.what == "sizes":
        tasks = list(found["rows"][0]["retention"])
        ordered = sorted(found["rows"], key=lambda row: row["us"])
        series = {t: [(row["us"], row["retention"][t]) for row in ordered] for t in tasks}
        title = "retention against latency, one point per size"
        write_text(folder / "sizes.svg", line_plot(title, "us", "retention", series))
    brief = {
        "study": config.what,
        "random, teacher": {
            name: {task: entry["mean"] for task, entry in by_task.items()}
            for name, by_task in found["reference"].items()
        },
        **{
            row["name"]: {
                key: {task: entry["mean"] for task, entry in row[key].items()}
                for key in ("clean", "randomised")
            }
            for row in found["rows"]
        },
        **{key: found[key] for key in ("episodes", "steps", "seed", "commit")},
    }
    print(json.dumps(brief))


def main() -> int:
    words = sys.argv[1:]
    if any(word in ("-h", "--help") for word in words):
        print(__doc__, *describe(PRESETS["study"]), sep="\n")
        return 0
    try:
        config = choose(words, PRESETS, "study")
        if not config.ckpt:
            raise ConfigError("ckpt= is missing: a run folder, a checkpoint folder or a file")
        finish(config, study(config))
    except (ConfigError, CheckpointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
