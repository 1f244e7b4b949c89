"""Measure changes of task: how many robots are still up after being told something else.

Every task's episodes begin at rest. What follows a walk or a run is another matter, and a policy
that only knows how to stand cannot stop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any

import numpy as np

from distill.proof import CLEAN, Condition
from training.evaluation import ActFunction
from training.h1_env import H1Env

EARLIEST, LATEST, WATCH = 100, 200, 200  # control steps: the change comes between; then


def turns(
    act: ActFunction,
    tasks: Sequence[str],
    *,
    action_map: str,
    condition: Condition = CLEAN,
    episodes: int,
    seed: int,
    world: Callable[..., H1Env] = H1Env,
) -> dict[str, dict[str, Any]]:
    """Return per ordered pair, "walk > stand", how many of the robots still up stay up.

    After 2 to 4 s of the first task the second is told; a robot has made the turn if it has not
    fallen, by the second task's rule, 4 s later.
    """
    pairs = [pair for pair in permutations(range(len(tasks)), 2) for _ in range(episodes)]
    if not pairs:
        return {}
    first, second = np.array(pairs).T
    change = np.random.default_rng([seed, 11]).integers(EARLIEST, LATEST, episodes)
    change = np.tile(change, len(pairs) // episodes)
    env = world(
        [tasks[i] for i in second], seed=seed, action_map=action_map, max_steps=LATEST + WATCH,
        delay_substeps=condition.delay_substeps, randomize=condition.randomize,
    )  # fmt: skip
    up, told = np.ones(len(pairs), bool), np.zeros(len(pairs), bool)
    observation = env.reset()
    for number in range(LATEST + WATCH):
        told |= up & (number == change)
        after = number >= change
        step = env.step(act(observation, np.where(after, second, first)).astype(np.float32))
        up &= ~step.terminated | (number >= change + WATCH)
        observation = step.obs if step.failed is None else env.reset(step.failed)
        if not up.any():
            break
    env.close()
    return {
        f"{tasks[a]} > {tasks[b]}": {"told": int(told[rows].sum()), "up": int(up[rows].sum())}
        for a, b in permutations(range(len(tasks)), 2)
        for rows in [(first == a) & (second == b)]
    }
