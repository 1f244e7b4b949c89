"""The study of demonstrations: the toy's demonstrator, and the ways to use what it shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from training import demos
from training.cli import ConfigError
from training.config import TrainConfig
from training.demo_frames import columns_of
from training.study_runs import Run
from training.suites import robot
from training.toy import EPISODE, SIZE, WIDTHS, PointMass, perfect, returns

NOISE = 0.2  # std of what the toy's demonstrator does beside what it means to do
EPISODES = 10  # of each task that it shows


def ways(base: TrainConfig) -> list[Run]:
    """Return runs with as many updates of their own, by what demonstrations are used for.

    Raises:
        ConfigError: there are none, or they cannot be read.
    """
    if not base.demos:
        raise ConfigError(f"what=demos needs demos=<file> with preset={base.preset}")
    pretrain = base.imitation.pretrain
    if pretrain >= base.updates:  # a preset that is not about demonstrations
        pretrain = base.updates // 3
    like = dataclasses.replace(base.imitation, pretrain=pretrain)

    def run(label: str, **imitation: float) -> Run:
        own = dataclasses.replace(like, **imitation)
        return Run(label, dataclasses.replace(base, imitation=own))

    # before the first run is paid for: read checks what is there
    demos.read(base.demos, base.tasks, base.collect.action_map, base.collect.observation)
    none = dataclasses.replace(base, demos="", updates=base.updates - pretrain)
    only = dataclasses.replace(base, updates=pretrain, offline_updates=0, imitation=like)
    return [
        Run("none", none),
        run("shown, then alone", share=0.0, share_end=0.0),
        run("data, not cloned", weight=0.0, weight_end=0.0),
        run("as the preset"),
        run("kept for good", share_end=like.share, weight_end=like.weight),
        Run("nothing but shown", only),
    ]


def show(
    path: Path, tasks: Sequence[str], widths: Mapping[str, float], speed: float, action_map: str
) -> None:
    """Record the toy's demonstrator, which goes straight to the goal at `speed` of the full one."""
    episodes = {}
    for number, task in enumerate(tasks):
        env = PointMass([task] * EPISODES, seed=1000 + number, widths=widths)
        rng = np.random.default_rng(2000 + number)
        seen = env.reset()
        no, frames = np.zeros(EPISODES, bool), []
        for _ in range(EPISODE):
            meant = np.clip(perfect(seen, env.goal), -speed, speed)
            done = (meant + NOISE * rng.standard_normal(meant.shape)).clip(-1.0, 1.0)
            step = env.step(done)
            frames.append((seen, done, meant, step.reward, no, no))
            seen = step.obs
        nothing = np.zeros((EPISODES, SIZE))
        frames.append((seen, nothing, nothing, np.zeros(EPISODES), ~no, no))
        by_step = [list(zip(*step, strict=True)) for step in frames]
        # episode after episode
        episodes[task] = columns_of(step[row] for row in range(EPISODES) for step in by_step)
    path.parent.mkdir(parents=True, exist_ok=True)
    demos.write(path, episodes, {"action_map": action_map, "robot": robot(tasks[0])})


def worth(path: Path, config: TrainConfig) -> dict[str, float]:
    """Return the score of what the toy's demonstrator did in a file, by task."""
    episodes = demos.read(path, config.tasks, config.collect.action_map)
    found = {}
    for task, parts in episodes.items():
        low, high = returns(task, WIDTHS[config.preset])
        found[task] = float((parts["reward"].sum() / parts["last"].sum() - low) / (high - low))
    return found
