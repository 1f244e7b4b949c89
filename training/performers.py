"""Who shows a task, who drives there, and who acts in the tasks before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from training.cli import ConfigError
from training.contenders import Contender, contenders
from training.demonstrator import best_checkpoint
from training.evaluation import ActFunction
from training.h1_env import H1Env

GROUND_SPEED = slice(26, 28)  # columns of the observation, m/s along x and y


def performer(
    name: str,
    source: str,
    contender: str = "",
    *,
    action_map: str = "benchmark",
    since: int = 0,
    until: int = 0,
) -> tuple[Contender, str]:
    """Return who acts in a task, and the name of the file that it is from.

    source: a path, another word of evaluate.py, or a demonstrator's run folder: then its best
    checkpoint at this task, of those between `since` and `until` updates. contender: which of
    several; empty: the first.

    Raises:
        ConfigError: nobody was named, or nobody there knows the task.
    """
    if not source:
        raise ConfigError("policy= says whose episodes to record: a path or a word")
    folder = Path(source)
    if folder.is_dir() and any(folder.glob("actor_*.safetensors")):
        source = str(best_checkpoint(folder, name, since, until))
    found = contenders(source, action_map)
    named = [who for who in found if contender in ("", who.name)]
    if not named:
        raise ConfigError(f"contender={contender!r}; there are {[w.name for w in found]}")
    who = named[0]
    if who.tasks and name not in who.tasks:
        raise ConfigError(f"{source} does not know {name!r}; it knows {who.tasks}")
    return who, Path(source).name


def company(members: Mapping[str, Contender]) -> Contender:
    """Return one who in every task [of the keys] does as the member for it.

    Raises:
        ConfigError: their actions mean different things.
    """
    maps = {name: who.action_map for name, who in members.items()}
    if len(set(maps.values())) > 1:
        raise ConfigError(f"these act in different action maps: {maps}")

    def begin(tasks: Sequence[str], seed: int) -> ActFunction:
        acts = [members[name].begin((name,), seed) for name in tasks]

        def act(observation: np.ndarray, task: np.ndarray) -> np.ndarray:
            action = np.zeros((len(observation), H1Env.action_dim), np.float32)
            for index, one in enumerate(acts):
                rows = np.flatnonzero(task == index)
                if len(rows):
                    action[rows] = one(observation[rows], np.zeros(len(rows), np.int64))
            return action

        return act

    title = ", ".join(f"{name}: {who.name}" for name, who in members.items())
    return Contender(title, next(iter(maps.values())), tuple(members), begin)


def braking(who: Contender, walker: Contender, speed: float) -> Contender:
    """Return `who`, but where a robot is faster than `speed`, m/s, it does as `walker` walks.

    So standing can be shown from a run: it slows down to a walk first.
    """

    def begin(tasks: Sequence[str], seed: int) -> ActFunction:
        slow, fast = who.begin(tasks, seed), walker.begin(("walk",), seed)

        def act(observation: np.ndarray, task: np.ndarray) -> np.ndarray:
            hasty = np.hypot(*observation[:, GROUND_SPEED].T) > speed
            walked = fast(observation, np.zeros(len(observation), np.int64))
            return np.where(hasty[:, None], walked, slow(observation, task))

        return act

    return Contender(f"{who.name}, braking", who.action_map, who.tasks, begin)


def check_alike(key: str, source: str, helper: Contender, who: Contender) -> None:
    """Refuse a helper whose actions mean something else than those of `who`.

    Raises:
        ConfigError: so it is.
    """
    if helper.action_map != who.action_map:
        raise ConfigError(
            f"{key}={source} acts in action_map={helper.action_map!r}, the policy in "
            f"{who.action_map!r}"
        )
