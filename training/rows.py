"""What environments of several rows share: types, a step's result, masks, generators, actions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime import h1

Bools = NDArray[np.bool_]
Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Step:
    """What one control step brought, for E rows."""

    obs: Float32  # [E, O] after the step, also where the episode ended
    reward: Float32  # [E]
    terminated: Bools  # [E]
    truncated: Bools  # [E]
    terms: dict[str, Float32]  # [E] each; NaN where the row's task has no such term
    failed: Bools | None = None  # [E] the simulation broke down there; None: nowhere


def as_actions(action: np.ndarray, shape: tuple[int, int]) -> Float32:
    """Return actions [E, A] as float32; a ValueError names both shapes if it is not this one."""
    action = np.asarray(action, dtype=np.float32)
    if action.shape != shape:
        raise ValueError(f"action has shape {action.shape}, expected {shape}")
    return action


def mask(name: str, rows: Bools | None, count: int) -> Bools:
    """Return a mask of rows [E] bool, of none if not given; a ValueError if it does not fit."""
    if rows is None:
        return np.zeros(count, bool)
    if rows.shape != (count,):
        raise ValueError(f"{name} has shape {rows.shape}, expected ({count},): one per row")
    return rows.astype(bool)


def row_generators(seed: int | Sequence[int], rows: int) -> list[np.random.Generator]:
    """Return a generator of its own for every row; see `H1Env`."""
    if isinstance(seed, (int, np.integer)):
        return [np.random.default_rng([int(seed), row]) for row in range(rows)]
    if len(seed) != rows:
        raise ValueError(f"{len(seed)} seeds given for {rows} rows")
    return [np.random.default_rng(entry) for entry in seed]


def rows_of(name: str, names: Sequence[str]) -> slice | NDArray[np.int64]:
    """Return the rows of one task; as a slice, which copies nothing, where they are neighbours."""
    rows = np.array([row for row, other in enumerate(names) if other == name])
    if rows[-1] - rows[0] + 1 == len(rows):
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def control_map(name: str) -> Callable[[Float32], NDArray[np.float64]]:
    """Return the map from actions [E, 19] float32 to joint targets [E, 19] float64, rad."""
    action_map = h1.action_map(name)
    if name != "benchmark":
        return action_map.target
    lower, upper = h1.JOINT_LOWER.astype(np.float32), h1.JOINT_UPPER.astype(np.float32)

    def benchmark(action: Float32) -> NDArray[np.float64]:
        """HumanoidBench's own arithmetic: float32 throughout, no clipping (the actuators clip)."""
        return ((action + np.float32(1)) / np.float32(2) * (upper - lower) + lower).astype(
            np.float64
        )

    return benchmark
