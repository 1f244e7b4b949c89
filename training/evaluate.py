"""Score a policy on tasks: `python training/evaluate.py policy=random tasks=[walk,run] episodes=5`.

policy is random, home (the constant home pose), a run, checkpoint or agent file (its planner and
its policy mean), or a student's .onnx. tasks names tasks or task sets. Two protocols: `benchmark`
ends an episode by the task's own rule, as HumanoidBench does; `ezm` lets it go on for 1000 steps,
as EZ-M's published scores do. suite=real scores on the humanoid_bench package, where it is
installed, and there also robots with hands ("h1hand-walk"). published=true prints what others
published beside it. Progress goes to standard error; the table, and one line of JSON, to standard
output.
"""

from __future__ import annotations

import training.quiet  # noqa: F401  before all that takes long

# isort: split
import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from runtime.h1 import ACTION_MAPS
from training import published
from training.checks import COUNT, SEED, THREADS, check_bounds
from training.cli import ConfigError, choose, from_command_line
from training.contenders import ACTUATORS, Contender, contenders
from training.door import interruptible, reason
from training.evaluation import MakeEnv, Score, evaluate, normalised
from training.files import write_text
from training.h1_env import H1Env
from training.hb_adapter import RealEnv, check_names
from training.output import prepare_file
from training.suites import robot
from training.tasks import TASK_SETS, TASKS, base, task
from training.trainer import git_sha

PROTOCOLS = {"benchmark": True, "ezm": False}  # -> does the task's rule end an episode?
SUITES: dict[str, MakeEnv] = {"ours": H1Env, "real": RealEnv}
Results = dict[str, dict[str, dict[str, Score]]]  # contender -> protocol -> task


@dataclass(frozen=True)
class EvaluateConfig:
    """What is scored, on what, how often."""

    policy: str = "random"  # random, home, a run, an agent file, a student's .onnx
    tasks: tuple[str, ...] = ()  # names of tasks or task sets; default: all that the policy knows
    episodes: int = 5  # per task
    seed: int = 0  # of the first episode
    protocol: str = "both"  # or "benchmark", "ezm"
    steps: int = 1000  # longest episode
    action_map: str = "benchmark"  # of random and home; others bring their own
    suite: str = "ours"  # or "real"
    threads: int = 1  # of the simulator
    device: str = "cpu"  # of the networks; or "cuda"
    published: bool = False  # what others published, beside it
    out: str = ""  # a JSON file with every episode


def tasks_of(config: EvaluateConfig, players: list[Contender]) -> tuple[str, ...]:
    """Return the tasks to score on, each once.

    Raises:
        ConfigError: a name is neither task nor set, or the policy does not know the task.
    """
    known = players[0].tasks
    unknown = [name for name in config.tasks if name not in TASK_SETS and base(name) == name]
    if unknown:
        raise ConfigError(f"tasks={unknown}: there are {', '.join(TASK_SETS)}")
    sets = [TASK_SETS.get(n, (n,)) for n in config.tasks] or [known or TASK_SETS["h1_all"]]
    names = tuple(dict.fromkeys(name for names in sets for name in names))
    others = [name for name in names if name not in TASK_SETS]
    if others and config.suite == "ours":
        raise ConfigError(
            f"tasks={others}: suite=ours has an h1 without hands; suite=real takes them from "
            "humanoid_bench (docs/real_humanoidbench.md)"
        )
    if config.policy == "random" and any(robot(name) not in ACTUATORS for name in others):
        raise ConfigError(f"tasks={others}: random knows {', '.join(ACTUATORS)}")
    strange = [name for name in names if known and name not in known]
    if strange:
        raise ConfigError(f"tasks={strange}: {config.policy} knows {', '.join(known)}")
    return names


def progress(label: str, steps: int) -> Callable[[int, int], None]:
    """Return a function that tells standard error, every few seconds, how far it is."""
    began = told = time.monotonic()

    def tell(step: int, running: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told > 5.0 or running == 0:
            told = now
            text = f"{label}: step {step} of {steps}, {running} episodes running"
            print(f"{text}, {now - began:.0f} s", file=sys.stderr, flush=True)

    return tell


def score(config: EvaluateConfig, players: list[Contender], names: tuple[str, ...]) -> Results:
    """Run every contender through every protocol."""
    protocols = list(PROTOCOLS) if config.protocol == "both" else [config.protocol]
    make_env = functools.partial(SUITES[config.suite], threads=config.threads)
    return {
        player.name: {
            protocol: evaluate(
                player.begin(names, config.seed),
                names,
                episodes=config.episodes,
                seed=config.seed,
                action_map=player.action_map,
                terminate=PROTOCOLS[protocol],
                steps=config.steps,
                make_env=make_env,
                progress=progress(f"{player.name}, {protocol}", config.steps),
            )
            for protocol in protocols
        }
        for player in players
    }


def summary(scores: dict[str, Score]) -> dict[str, Any]:
    """Return one contender's scores under one protocol as JSON-ready values."""
    found = [normalised(name, entry.mean) for name, entry in scores.items()]
    values = [value for value in found if not np.isnan(value)]  # those that have a scale
    return {
        "normalised_mean": _mean(values),
        "normalised_clipped_mean": _mean([min(value, 1.0) for value in values]),
        "tasks_at_bar": int(np.sum(np.array(values) >= 1.0)),
        "failures": sum(entry.failures for entry in scores.values()),
        "tasks": {
            name: {
                "mean": round(entry.mean, 2),
                "std": round(entry.std, 2),
                "length": round(entry.length, 1),
                "normalised": _mean([normalised(name, entry.mean)]),
            }
            for name, entry in scores.items()
        },
    }


def _mean(values: Sequence[float]) -> float | None:
    """Return the mean as JSON has it; None of nothing, and of nan."""
    return round(float(np.mean(values)), 4) if values and not np.isnan(values).any() else None


def table(results: Results, names: tuple[str, ...]) -> str:
    """Return a row per task and a column per contender and protocol."""
    heads = [(player, protocol) for player, by in results.items() for protocol in by]
    titles = [f"{player}, {protocol}" for player, protocol in heads]
    width = max(26, *(len(title) + 2 for title in titles))
    first = max(16, *(len(name) + 1 for name in names))
    lines = ["".join([f"{'':{first}}{'bar':>6}", *(f"{title:>{width}}" for title in titles)])]
    for name in names:
        cells = [results[player][protocol][name] for player, protocol in heads]
        words = [f"{c.mean:.1f} ± {c.std:.1f} /{c.length:.0f}" for c in cells]
        bar = f"{task(base(name)).success_bar:.0f}" if base(name) in TASKS else ""
        lines.append("".join([f"{name:{first}}{bar:>6}", *(f"{word:>{width}}" for word in words)]))
    means = [summary(results[player][protocol]) for player, protocol in heads]
    for key, text in (("normalised_mean", "normalised"), ("normalised_clipped_mean", "clipped")):
        shown = ("" if mean[key] is None else f"{mean[key]:.3f}" for mean in means)
        lines.append("".join([f"{text:{first + 6}}", *(f"{word:>{width}}" for word in shown)]))
    lines += [
        f"the simulation broke down in {mean['failures']} episodes of {player}, {protocol}"
        for (player, protocol), mean in zip(heads, means, strict=True)
        if mean["failures"]
    ]
    return "\n".join(lines)


def _compare(results: Results, action_map: str, steps: int) -> dict[str, dict[str, float]]:
    """Print our first contender's returns beside published ones, and return those.

    Ours are of protocol ezm, if it was run.
    """
    player, by = next(iter(results.items()))
    protocol = "ezm" if "ezm" in by else next(iter(by))
    ours = {name: entry.mean for name, entry in by[protocol].items()}
    others = published.of(tuple(ours))
    print(f"\n{published.table(f'{player}, {protocol}', ours, others)}")
    if others and action_map != "benchmark":
        print(f"not comparable: ours act by the map {action_map!r}, they by 'benchmark'")
    if others and steps != published.STEPS:
        print(f"not comparable: our episodes last {steps} steps, theirs {published.STEPS}")
    return others


def report(
    config: EvaluateConfig, results: Results, names: tuple[str, ...], action_map: str
) -> None:
    """Print the table, write the file, print the line; `action_map` is the contenders' own."""
    print(table(results, names))
    known = (
        {"published_returns": _compare(results, action_map, config.steps)}
        if config.published
        else {}
    )
    facts = dataclasses.asdict(config) | {"tasks": names, "mujoco": mujoco.__version__}
    facts |= {"action_map": action_map, "commit": git_sha()}
    scores = {
        player: {protocol: summary(entry) for protocol, entry in by.items()}
        for player, by in results.items()
    }
    if config.out:
        every = {
            player: {
                protocol: {name: dataclasses.asdict(entry) for name, entry in entries.items()}
                for protocol, entries in by.items()
            }
            for player, by in results.items()
        }
        path = Path(config.out)
        content = {"config": facts, "scores": scores, "episodes": every, **known}
        write_text(path, json.dumps(content, indent=1) + "\n")
    print(json.dumps({**facts, "scores": scores, **known}))


def load(words: list[str]) -> EvaluateConfig:
    """Return the configuration that the words describe; `tasks=walk` may go without brackets."""
    words = [
        f"tasks=[{word[6:]}]" if word.startswith("tasks=") and "[" not in word else word
        for word in words
    ]
    config = choose(words, {"evaluate": EvaluateConfig()}, "evaluate")
    for name, value, known in (
        ("protocol", config.protocol, (*PROTOCOLS, "both")),
        ("suite", config.suite, tuple(SUITES)),
        ("action_map", config.action_map, tuple(ACTION_MAPS)),
    ):
        if value not in known:
            raise ConfigError(f"{name}={value!r}; there are {', '.join(known)}")
    check_bounds(config, {"episodes": COUNT, "steps": COUNT, "threads": THREADS, "seed": SEED})
    return config


@interruptible("nothing was reported")
def main() -> int:
    """Read the words, score, report."""
    try:
        config = from_command_line(load, __doc__)
        if config is None:
            return 0
        players = contenders(config.policy, config.action_map, config.device)
        names = tasks_of(config, players)
        if config.suite == "real":
            check_names(names)
        if config.out:
            prepare_file(Path(config.out))
    except (ValueError, KeyError, OSError, ImportError, RuntimeError) as error:
        print(f"error: {reason(error)}", file=sys.stderr)
        return 2
    try:
        report(config, score(config, players, names), names, players[0].action_map)
    except OSError as error:  # a full disk; the table has been printed
        print(f"error: out={config.out}: {reason(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
