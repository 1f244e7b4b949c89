"""What the frames of a demonstration are, and whether arrays are that; see `training/demos.py`."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from runtime import h1
from training.cli import ConfigError
from training.features import SIZE
from training.tasks import TASKS

FIELDS = ("observation", "action", "label", "reward", "last", "terminal")
KINDS = (np.float32, np.float32, np.float32, np.float32, bool, bool)  # of FIELDS, as written
TABLES = ("observation", "action", "label")  # [N, width]; the others are [N]
TOLERANCE = 1e-6  # by which rounding may take an action out of [-1, 1]


def columns_of(frames: Iterable[tuple]) -> dict[str, np.ndarray]:
    """Return arrays [N, ...] by field, of N frames that are tuples in the order of `FIELDS`."""
    columns = zip(FIELDS, zip(*frames, strict=True), KINDS, strict=True)
    return {name: np.array(column, kind) for name, column, kind in columns}


def sizes_of(task: str) -> tuple[int, int] | None:
    """Return the sizes of a task's observation and action; None: only its own package knows."""
    return (TASKS[task].observation_size, h1.NUM_JOINTS) if task in TASKS else None


def check(
    where: str, task: str, parts: dict[str, np.ndarray], view: str = "benchmark"
) -> dict[str, np.ndarray]:
    """Return the frames of a task if they can be learnt from; `where` begins what errors say.

    `view`: that of the observations.

    Raises:
        ConfigError: an array is missing or has another length, width, kind or range.
    """
    missing = [name for name in FIELDS if name not in parts]
    if missing:
        raise ConfigError(f"{where} has no {', '.join(missing)}; there are {sorted(parts)}")
    parts = {name: parts[name] for name in FIELDS}
    count = len(parts["action"]) if parts["action"].ndim else 0
    for name, array in parts.items():
        if array.ndim != (2 if name in TABLES else 1) or array.dtype.kind not in "fiub":
            wanted = "[frames, width]" if name in TABLES else "[frames]"
            raise ConfigError(
                f"{where}/{name} has shape {array.shape} of {array.dtype}, "
                f"expected {wanted} numbers"
            )
        if len(array) != count:
            raise ConfigError(f"{where}/{name} has {len(array)} frames, action has {count}")
        if not np.isfinite(array).all():
            raise ConfigError(
                f"{where}/{name} is not finite, first at frame {_first(~np.isfinite(array))}"
            )
    _check_sizes(where, task, parts, view)
    _check_ends(where, parts)
    for name in ("action", "label"):
        beyond = np.abs(parts[name]) > 1.0 + TOLERANCE
        if beyond.any():
            raise ConfigError(
                f"{where}/{name} is beyond -1 to 1 ({np.abs(parts[name]).max():.3g}), first at "
                f"frame {_first(beyond)}"
            )
    return parts


def _first(bad: np.ndarray) -> int:
    return int(np.argwhere(bad)[0][0])


def _check_sizes(where: str, task: str, parts: dict[str, np.ndarray], view: str) -> None:
    seen, acted = parts["observation"].shape[1], parts["action"].shape[1]
    least, joints = sizes_of(task) or (seen, acted)
    least = SIZE if view == "body" else least
    if seen < least:  # more: padded for the sake of other tasks
        raise ConfigError(f"{where}/observation has {seen} numbers, expected {least}")
    for name in ("action", "label"):
        width = parts[name].shape[1]
        if width != joints:
            raise ConfigError(f"{where}/{name} has {width} numbers, expected {joints}")


def _check_ends(where: str, parts: dict[str, np.ndarray]) -> None:
    last, terminal = parts["last"].astype(bool), parts["terminal"].astype(bool)
    if last.all():
        raise ConfigError(f"{where} has {len(last)} frames, and none with an action")
    if not last[-1]:
        raise ConfigError(f"{where}/last: the last frame of all ends no episode")
    if (terminal & ~last).any():
        raise ConfigError(
            f"{where}/terminal is true at frame {_first(terminal & ~last)}, where `last` is not"
        )
