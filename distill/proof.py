"""Measure whoever acts: returns under both protocols, falls, how hard the joints work, pushes.

One loop serves all: an episode goes on after a fall (EZ-M's protocol), and what HumanoidBench's
termination would have cut off is left out of its figures. Knows no student and no teacher.
"""

# Cells of results are plain JSON-ready dictionaries.
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distill.config import NO_NOISE, NoiseConfig, RolloutConfig
from runtime import h1
from training.evaluation import ActFunction
from training.h1_env import H1Env
from training.randomization import MODERATE, Randomization

MASS, GRAVITY = 51.65, 9.81  # kg of all links, m/s2
PUSH_AT, PUSH_WATCH = 150, 200  # control steps: before the push, and after it


@dataclass(frozen=True)
class Condition:
    """What the robots are like, and what a student's sensors get wrong."""

    name: str
    delay_substeps: tuple[int, int] = (0, 0)  # physics steps of 2 ms
    randomize: Randomization | None = None
    noise: NoiseConfig = NO_NOISE


CLEAN = Condition("clean")


def conditions(config: RolloutConfig) -> dict[str, Condition]:
    """Return clean, delayed (the roll-outs' control delay) and randomised (everything)."""
    delay = config.delay_substeps if config.delay_substeps[1] else (0, 10)
    noise = config.noise if config.noise != NO_NOISE else NoiseConfig()
    return {
        "clean": CLEAN,
        "delayed": Condition("delayed", delay),
        "randomised": Condition("randomised", delay, MODERATE, noise),
    }


# Given a condition and a seed, returns who acts, fresh, for one batch of episodes.
Make = Callable[[Condition, int], ActFunction]


@dataclass
class _Books:
    """Sums over the steps of each row until its fall or end."""

    rate: np.ndarray  # [E] sum over steps of mean squared change of action
    torque: np.ndarray  # sum of mean squared joint torques
    power: np.ndarray  # sum of the joints' absolute mechanical power, W
    way: np.ndarray  # m along x

    @classmethod
    def of(cls, rows: int) -> _Books:
        return cls(*(np.zeros(rows) for _ in range(4)))


def measure(
    act: ActFunction,
    tasks: Sequence[str],
    *,
    action_map: str,
    condition: Condition = CLEAN,
    episodes: int,
    steps: int,
    seed: int,
    both: bool = False,
    world: Callable[..., H1Env] = H1Env,
) -> dict[str, dict[str, Any]]:
    """Return figures by task, over `episodes` episodes of at most `steps` control steps each.

    both: go on after falls, for EZ-M's protocol too (`ezm` in the result); else it is left out.
    world: what makes the robots, of H1Env's arguments; other drives may be behind it.
    """
    names = [name for name in tasks for _ in range(episodes)]
    index = np.repeat(np.arange(len(tasks)), episodes)
    env = world(
        names, seed=seed, action_map=action_map, max_steps=steps,
        delay_substeps=condition.delay_substeps, randomize=condition.randomize,
    )  # fmt: skip
    rows = len(names)
    alive, running = np.ones(rows, bool), np.ones(rows, bool)
    returns, whole, length = np.zeros(rows), np.zeros(rows), np.zeros(rows, int)
    fell, books = np.zeros(rows, bool), _Books.of(rows)
    previous: np.ndarray | None = None
    observation = env.reset()
    while (running if both else alive).any():
        action = act(observation, index).astype(np.float32)
        before = env.qpos[:, 0].copy()
        step = env.step(action)
        _note(books, alive, env, action, action if previous is None else previous, before)
        previous = action
        returns += np.where(alive, step.reward, 0.0)
        whole += np.where(running, step.reward, 0.0)
        length += alive
        fell |= step.terminated & alive
        alive = alive & ~step.terminated & ~step.truncated
        running = running & ~step.truncated
        observation = step.obs
        if step.failed is not None:  # the simulation broke down: the episode is over
            running = running & ~step.failed
            observation = env.reset(step.failed)
    env.close()
    return {
        name: _cell(index == i, returns, length, fell, books) | _ezm(both, whole[index == i])
        for i, name in enumerate(tasks)
    }


def _note(
    books: _Books,
    alive: np.ndarray,
    env: H1Env,
    action: np.ndarray,
    previous: np.ndarray,
    before: np.ndarray,
) -> None:
    """Add one step of the rows that have not fallen."""
    torque, speed = env.readings().torque, env.qvel[:, 6:25]
    books.rate += alive * ((action - previous) ** 2).mean(1)
    books.torque += alive * (torque**2).mean(1)
    books.power += alive * np.abs(torque * speed).sum(1)
    books.way += alive * (env.qpos[:, 0] - before)


def _cell(
    rows: np.ndarray, returns: np.ndarray, length: np.ndarray, fell: np.ndarray, books: _Books
) -> dict[str, Any]:
    """Return one task's figures under HumanoidBench's protocol."""
    values, lengths = returns[rows], length[rows]
    steps = float(lengths.sum())
    power = float(books.power[rows].sum()) / steps
    speed = float(books.way[rows].sum()) / (steps * h1.CONTROL_DT)
    return {
        "mean": round(float(values.mean()), 1),
        "std": round(float(values.std()), 1),
        "length": round(float(lengths.mean()), 1),
        "falls": int(fell[rows].sum()),
        "action_rate": round(float(np.sqrt(books.rate[rows].sum() / steps)), 4),
        "torque": round(float(np.sqrt(books.torque[rows].sum() / steps)), 2),
        "power": round(power, 1),
        "speed": round(speed, 3),
        "transport": round(power / (MASS * GRAVITY * speed), 2) if speed > 0.2 else None,
        "returns": [round(float(value), 1) for value in values],
        "lengths": lengths.tolist(),
    }


def _ezm(both: bool, values: np.ndarray) -> dict[str, Any]:
    """Return the same episodes under EZ-M's protocol: no termination."""
    if not both:
        return {}
    return {"ezm": {"mean": round(float(values.mean()), 1), "std": round(float(values.std()), 1)}}


def push_curve(
    act: ActFunction,
    tasks: Sequence[str],
    sizes: Sequence[float],
    *,
    action_map: str,
    condition: Condition = CLEAN,
    episodes: int,
    seed: int,
    world: Callable[..., H1Env] = H1Env,
) -> dict[str, list[dict[str, Any]]]:
    """Return per task, for each size, how many of the robots still up survive one push.

    After 3 s the base's horizontal velocity jumps by `size` m/s in a random direction; a robot has
    recovered if it has not fallen (by its task's own rule) 4 s later.
    """
    each = len(sizes) * episodes
    names = [name for name in tasks for _ in range(each)]
    index = np.repeat(np.arange(len(tasks)), each)
    size = np.tile(np.repeat(np.asarray(sizes, float), episodes), len(tasks))
    env = world(
        names, seed=seed, action_map=action_map, max_steps=PUSH_AT + PUSH_WATCH,
        delay_substeps=condition.delay_substeps, randomize=condition.randomize,
    )  # fmt: skip
    angle = np.random.default_rng([seed, 7]).uniform(0, 2 * np.pi, episodes)
    angle = np.tile(angle, len(sizes) * len(tasks))  # the same directions for every size
    up, pushed = np.ones(len(names), bool), np.zeros(len(names), bool)
    observation = env.reset()
    for number in range(PUSH_AT + PUSH_WATCH):
        if number == PUSH_AT:
            pushed = up.copy()
            for row in np.flatnonzero(up):
                jump = size[row] * np.array([np.cos(angle[row]), np.sin(angle[row])])
                env.physics.data[row].qvel[:2] += jump
        step = env.step(act(observation, index).astype(np.float32))
        up &= ~step.terminated
        observation = step.obs if step.failed is None else env.reset(step.failed)
        if not up.any():
            break
    env.close()
    return {
        name: [
            _survived(float(value), pushed[rows], up[rows])
            for value in sizes
            for rows in [(index == i) & (size == value)]
        ]
        for i, name in enumerate(tasks)
    }


def _survived(size: float, pushed: np.ndarray, up: np.ndarray) -> dict[str, Any]:
    count, kept = int(pushed.sum()), int((pushed & up).sum())
    share = round(kept / count, 3) if count else None
    return {"size": size, "episodes": len(pushed), "pushed": count, "recovered": kept,
            "share": share}  # fmt: skip
