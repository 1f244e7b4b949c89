"""One run of a study: train it (or take it up), score it, keep the score in its folder."""

from __future__ import annotations

import contextlib
import functools
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training import files
from training.agent import Agent
from training.cli import ConfigError, to_dict
from training.config import TrainConfig, from_dict
from training.evaluation import ActFunction, MakeEnv, evaluate, normalised
from training.suites import open_suite
from training.toy import EPISODE, SIZE, WIDTHS, PointMass, returns
from training.trainer import Trainer, git_sha

EVALUATION_SEED = 20_000


@dataclass(frozen=True)
class Run:
    """A configuration and what the study calls it."""

    label: str
    config: TrainConfig


@dataclass(frozen=True)
class Result:
    """A trained run and its scores: 0 is a random policy, 1 the perfect one or the bar."""

    run: Run
    scores: dict[str, dict[str, float]]  # by way of acting ("search", "mean", …) and task
    curves: dict[str, list[tuple[float, float]]]  # by metric: (updates, value)
    steps: int  # environment steps of each task
    git: str
    cpu_seconds: float | None = None  # of training; None: not measured, or interrupted

    def mean(self, way: str) -> float:
        """Return the mean score over the run's tasks."""
        return float(np.mean(list(self.scores[way].values())))

    def last(self, metric: str) -> float:
        """Return the mean of the last half of a metric's curve; nan if there is none."""
        values = [value for _, value in self.curves.get(metric, [])]
        return float(np.mean(values[len(values) // 2 :])) if values else float("nan")

    def summary(self) -> str:
        return "  ".join(f"{way} {self.mean(way):.2f}" for way in self.scores)


def train_and_score(run: Run, episodes: int) -> Result:
    """Train a run to its end and score it, or read the score that its folder has.

    Raises:
        ConfigError: the folder has a score of another configuration or a broken one, the run cannot
            be built, or it was stopped before its end: then it has no score yet.
    """
    folder, config = Path(run.config.out), run.config
    file = folder / "score.json"
    if file.is_file():
        saved, theirs = _read_score(file)
        mine = {**to_dict(config), "out": theirs["out"]}  # a folder may have moved
        if theirs != mine or saved["episodes"] != episodes:
            raise ConfigError(f"{folder} has a study of other settings; give another out=")
    else:
        make_env, sizes = environments(config)
        try:
            trainer = Trainer(config, make_env=make_env, sizes=sizes)
        except (ValueError, MemoryError) as error:
            raise ConfigError(f"{folder}: {error}") from error
        whole, began = trainer.learner.updates == 0, time.process_time()
        with _quiet(folder):
            trainer.run()
        used = time.process_time() - began
        if trainer.learner.updates < config.updates:
            raise ConfigError(
                f"{folder} stopped at {trainer.learner.updates} of {config.updates} updates by "
                f"max_minutes={config.max_minutes} and is not scored; the same command goes on"
            )
        agent = Agent(trainer.learner.average, config, {})
        saved = {
            "config": to_dict(config),
            "episodes": episodes,
            "scores": score(agent, make_env, episodes),
            "steps": trainer.steps,
            "git": git_sha(),
            "cpu_seconds": round(used, 3) if whole else None,
        }
        files.write_text(file, json.dumps(saved, indent=1))
    facts = saved["scores"], curves(folder), saved["steps"], saved["git"]
    return Result(run, *facts, saved.get("cpu_seconds"))


def _read_score(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a score.json holds, and its configuration with the keys that came since.

    Raises:
        ConfigError: it is none.
    """
    try:
        saved = json.loads(file.read_text())
        missing = {"config", "episodes", "scores", "steps", "git"} - set(saved)
        if missing or not isinstance(saved["scores"], dict):
            raise ValueError(f"it lacks {sorted(missing) or 'scores by task'}")
        return saved, to_dict(from_dict(saved["config"]))
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{file} is no score of a run ({error}); without it the same command scores anew"
        ) from None


@contextlib.contextmanager
def _quiet(folder: Path):
    """Send what a run prints to its own log."""
    with (folder / "log.txt").open("a") as log, contextlib.redirect_stdout(log):
        yield


def environments(config: TrainConfig) -> tuple[MakeEnv, tuple[int, int]]:
    """Return what makes a run's environments, and the sizes of observation and action."""
    if config.preset in WIDTHS:
        unknown = [name for name in config.tasks if name not in PointMass.goals]
        if unknown:
            raise ConfigError(
                f"tasks={unknown}; preset={config.preset} has {list(PointMass.goals)}"
            )
        return functools.partial(PointMass, widths=WIDTHS[config.preset]), (SIZE, SIZE)
    return open_suite(config)


def score(agent: Agent, make_env: MakeEnv, episodes: int) -> dict[str, dict[str, float]]:
    """Return scores by way of acting and task; told agents act on held-out phrases too."""
    ways: dict[str, ActFunction] = {
        "search": lambda seen, task: agent.plan(seen, task).action,
        "mean": agent.policy_mean,
    }
    if agent.config.language:
        from training import language

        phrases = language.read(Path(agent.config.language), agent.config.tasks)
        other = Agent(language.told(agent.model, phrases.held_out), agent.config, {})
        ways["search, held-out phrases"] = lambda seen, task: other.plan(seen, task).action
        ways["mean, held-out phrases"] = other.policy_mean
    return {way: _scores(act, agent.config, make_env, episodes) for way, act in ways.items()}


def _scores(
    act: ActFunction, config: TrainConfig, make_env: MakeEnv, episodes: int
) -> dict[str, float]:
    toy = config.preset in WIDTHS
    found = evaluate(
        act, config.tasks, episodes=episodes, seed=EVALUATION_SEED,
        action_map=config.collect.action_map, terminate=config.collect.terminate,
        steps=EPISODE if toy else 1000, make_env=make_env,
    )  # fmt: skip
    if not toy:
        return {n: normalised(n, s.mean) for n, s in found.items()}
    bounds = {name: returns(name, WIDTHS[config.preset]) for name in config.tasks}
    return {n: (s.mean - bounds[n][0]) / (bounds[n][1] - bounds[n][0]) for n, s in found.items()}


def curves(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Return every metric of a run's metrics file as (updates, value); a short run has none."""
    found: dict[str, list[tuple[float, float]]] = {}
    file = folder / "metrics.jsonl"
    for line in file.read_text().splitlines() if file.is_file() else ():
        row = json.loads(line)
        for name, value in row.items():
            if isinstance(value, int | float):
                found.setdefault(name, []).append((float(row["updates"]), float(value)))
    return found
