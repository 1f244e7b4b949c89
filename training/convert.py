"""Make demonstrations for `demos=` of episodes that Gymnasium, D4RL or Minari wrote down.

    python training/convert.py dataset=walk.npz task=walk action_map=benchmark out=demos.safetensors
    python training/convert.py --help            every key, its default and type

`dataset` is one of

    NAME.npz, NAME.hdf5   observations [N, O], actions [N, A], rewards, terminations (or terminals),
                          truncations (or timeouts) [N], maybe next_observations [N, O]
    the same              one episode with N + 1 observations
    NAME.hdf5             a Minari file: groups episode_0, episode_1, … with T + 1 observations each
    a folder or an id     a Minari data set (needs the package minari)

The label of a frame, what is imitated, is the action that was taken. N observations do not have an
episode's last one. Without next_observations, a truncated episode loses its last step, for what came
after it is not known; a terminated one shows its last observation twice, for a terminal state is
worth nothing whatever it looks like.
"""  # noqa: E501

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError

from runtime import h1
from training import demos
from training.cli import ConfigError, choose, from_command_line
from training.dataset_files import Arrays, open_dataset
from training.demo_frames import TOLERANCE, sizes_of
from training.door import interruptible, reason
from training.output import prepare_file
from training.suites import robot
from training.tasks import TASKS
from training.trainer import git_sha

NAMES = {  # ours: those that data sets use
    "observations": ("observations",),
    "actions": ("actions",),
    "rewards": ("rewards",),
    "terminations": ("terminations", "terminals"),
    "truncations": ("truncations", "timeouts"),
    "next_observations": ("next_observations",),
}
TABLES = ("observations", "actions", "next_observations")  # [N, width]; the others are [N]
FLAGS = ("terminations", "truncations")


@dataclass(frozen=True)
class ConvertConfig:
    """One conversion."""

    preset: str = "convert"  # there is this one only
    dataset: str = ""  # a .npz or .hdf5 file, a Minari folder, or a Minari id
    task: str = "walk"  # what was done there
    action_map: str = "benchmark"  # what its actions mean: HumanoidBench's own, "home", "stance"
    out: str = "demos.safetensors"  # the recording


@dataclass(frozen=True)
class Episode:
    """T steps and what was seen after the last."""

    observation: np.ndarray  # [T + 1, O]
    action: np.ndarray  # [T, A]
    reward: np.ndarray  # [T]
    terminal: bool  # the last state is a terminal one

    def frames(self) -> dict[str, np.ndarray]:
        """Return T + 1 frames by the fields of `demos.FIELDS`."""
        action = np.concatenate([self.action, np.zeros_like(self.action[:1])])
        last = np.arange(len(action)) == len(action) - 1
        return {
            "observation": self.observation,
            "action": action,
            "label": action,
            "reward": np.append(self.reward, np.float32(0)),
            "last": last,
            "terminal": last & self.terminal,
        }


def convert(config: ConvertConfig) -> dict[str, np.ndarray]:
    """Return the frames [N, ...] of a data set's episodes, by the fields of `demos.FIELDS`.

    Raises:
        ConfigError: it cannot be read, or an array is not what it should be.
    """
    _check_words(config)
    episodes = [
        episode
        for where, arrays in open_dataset(config.dataset)
        for episode in split(columns(arrays, config.task, where), where)
    ]
    if not episodes:
        raise ConfigError(f"dataset={config.dataset}: there is no episode with a step in it")
    parts = [episode.frames() for episode in episodes]
    return {name: np.concatenate([part[name] for part in parts]) for name in demos.FIELDS}


def _check_words(config: ConvertConfig) -> None:
    if not config.dataset:
        raise ConfigError("dataset= is missing: a .npz or .hdf5 file, a Minari folder or id")
    if config.action_map not in h1.ACTION_MAPS:
        raise ConfigError(
            f"action_map={config.action_map!r}; there are {', '.join(h1.ACTION_MAPS)}"
        )
    if robot(config.task) == "h1" and config.task not in TASKS:
        raise ConfigError(f"task={config.task!r}; there are {', '.join(TASKS)}")


def columns(arrays: Arrays, task: str, where: str) -> dict[str, np.ndarray]:
    """Return the arrays of `NAMES` as float32 [N, ...] and bool [N], every one of them checked.

    next_observations may be missing. `where` names the data in errors.

    Raises:
        ConfigError: an array is missing, or has another length, width, kind or range.
    """
    found: dict[str, np.ndarray] = {}
    for name, words in NAMES.items():
        given = [word for word in words if word in arrays]
        if given:
            found[name] = _column(name, arrays[given[0]], f"{where}: {given[0]}")
        elif name != "next_observations":
            raise ConfigError(f"{where}: no {' or '.join(words)}; there are {sorted(arrays)}")
    _check_lengths(found, where)
    _check_widths(found, task, where)
    worst = np.abs(found["actions"]).max(initial=0.0)
    if worst > 1.0 + TOLERANCE:
        raise ConfigError(f"{where}: actions reach {worst:.3g}, expected -1 to 1")
    found["actions"] = found["actions"].clip(-1.0, 1.0)
    return found


def _column(name: str, values: Any, where: str) -> np.ndarray:
    """Return one array as float32 [N, width] or [N], or as bool [N]."""
    if isinstance(values, Mapping) or not hasattr(values, "__len__"):
        raise ConfigError(f"{where} is a {type(values).__name__}, expected an array of numbers")
    array = np.asarray(values)
    dimensions = 2 if name in TABLES else 1
    if array.dtype.kind not in "fiub" or array.ndim != dimensions:
        raise ConfigError(
            f"{where} has shape {array.shape} of {array.dtype}, "
            f"expected {dimensions} dimension{'s' * (dimensions - 1)} of numbers"
        )
    if name in FLAGS:
        if not np.isin(array, (0, 1)).all():
            raise ConfigError(f"{where} holds other values than 0 and 1 (false and true)")
        return array.astype(bool)
    with np.errstate(over="ignore"):  # too large a number is refused as infinite
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        first = int(np.argwhere(~np.isfinite(array))[0][0])
        raise ConfigError(f"{where} is not finite, first at {first}")
    return array


def _check_lengths(found: dict[str, np.ndarray], where: str) -> None:
    steps = len(found["actions"])
    for name, array in found.items():
        one_more = name == "observations" and "next_observations" not in found
        if len(array) != steps and not (one_more and len(array) == steps + 1):
            or_more = f" or {steps + 1}" if one_more else ""
            raise ConfigError(
                f"{where}: {name} has {len(array)} entries, expected {steps}{or_more} as actions "
                f"has {steps}"
            )


def _check_widths(found: dict[str, np.ndarray], task: str, where: str) -> None:
    sizes = sizes_of(task)
    observed, acted = sizes or (found["observations"].shape[1], found["actions"].shape[1])
    widths = {"observations": observed, "actions": acted, "next_observations": observed}
    for name, width in widths.items():
        if name in found and found[name].shape[1] != width:
            raise ConfigError(
                f"{where}: {name} has {found[name].shape[1]} numbers each, expected {width} as in "
                f"task={task}"
            )


def split(found: dict[str, np.ndarray], where: str) -> list[Episode]:
    """Cut checked columns into episodes; how an episode without its last frame gets one: above.

    Raises:
        ConfigError: an episode goes on after its end, or next_observations is not what comes next.
    """
    ends = found["terminations"] | found["truncations"]
    steps = len(ends)
    if len(found["observations"]) == steps + 1:
        if ends[:-1].any():
            raise ConfigError(
                f"{where}: {steps + 1} observations of {steps} actions are one episode, but it "
                f"ends at step {int(ends.argmax())} already"
            )
        stops = [steps] if steps else []
    else:
        _check_sequence(found, ends, where)
        stops = sorted({*(np.flatnonzero(ends) + 1).tolist(), steps} - {0})
    pieces = zip([0, *stops], stops, strict=False)
    episodes = [_episode(found, start, stop) for start, stop in pieces]
    return [episode for episode in episodes if len(episode.action)]


def _check_sequence(found: dict[str, np.ndarray], ends: np.ndarray, where: str) -> None:
    if "next_observations" not in found:
        return
    ours, theirs = found["observations"][1:], found["next_observations"][:-1]
    apart = ~np.isclose(ours, theirs, rtol=1e-4, atol=1e-4).all(axis=1) & ~ends[:-1]
    if apart.any():
        raise ConfigError(
            f"{where}: next_observations at {int(apart.argmax())} is not the observation that "
            "follows, though no episode ends there: the steps are not in order, or an end has no "
            "mark in terminations or truncations"
        )


def _episode(found: dict[str, np.ndarray], start: int, stop: int) -> Episode:
    """Return the steps from `start` to before `stop` as an episode."""
    observation, terminal = found["observations"], bool(found["terminations"][stop - 1])
    if len(observation) > len(found["actions"]):
        seen = observation[start : stop + 1]
    elif "next_observations" in found:
        seen = np.concatenate(
            [observation[start:stop], found["next_observations"][stop - 1 : stop]]
        )
    elif terminal:
        seen = np.concatenate([observation[start:stop], observation[stop - 1 : stop]])
    else:
        seen, stop = observation[start:stop], stop - 1
    return Episode(seen, found["actions"][start:stop], found["rewards"][start:stop], terminal)


@interruptible("nothing was written")
def main() -> int:
    """Read the words, convert, write."""
    presets = {"convert": ConvertConfig()}
    try:
        config = from_command_line(lambda words: choose(words, presets, "convert"), __doc__)
        if config is None:
            return 0
        prepare_file(Path(config.out))
        parts = convert(config)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    facts = {
        "action_map": config.action_map,
        "policy": f"dataset: {Path(config.dataset).name}",
        "robot": robot(config.task),
        "suite": "dataset",
        "git": git_sha(),
    }
    try:
        demos.write(Path(config.out), {config.task: parts}, facts)
    except (OSError, SafetensorError) as error:  # a full disk
        print(f"error: out={config.out}: {reason(error)}", file=sys.stderr)
        return 1
    summary = {
        "transitions": int((~parts["last"]).sum()),
        "episodes": int(parts["last"].sum()),
        "terminal": int(parts["terminal"].sum()),
        "return": round(float(parts["reward"].sum()) / int(parts["last"].sum()), 1),
    }
    print(json.dumps({"out": config.out, config.task: summary}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
