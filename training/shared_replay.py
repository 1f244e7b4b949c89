"""Replay that tasks share: every transition carries the reward of every task.

One ring per environment row. As in `training.replay`, an episode ends with a final frame that has
an observation and no action. Knows no network.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file


@dataclass(frozen=True)
class Samples:
    """B transitions of up to n steps, each for one task."""

    observation: np.ndarray  # [B, O]
    action: np.ndarray  # [B, A]
    task: np.ndarray  # [B] int64, for which `reward` counts
    reward: np.ndarray  # [B] discounted sum over the steps taken
    next_observation: np.ndarray  # [B, O]
    next_discount: np.ndarray  # [B] discount^steps, 0 after a terminal state


class SharedReplay:
    """E rows of C columns."""

    def __init__(
        self, rows: int, capacity: int, observation: int, action: int, tasks: int,
        owner: np.ndarray, measures: int = 0,
    ):  # fmt: skip
        """`owner` [E]: the task whose policy acts in each row. `measures`: see `add`."""
        self.rows, self.columns, self.tasks = rows, capacity // rows, tasks
        self.owner = owner
        self.observation = np.zeros((rows, self.columns, observation), np.float32)
        self.action = np.zeros((rows, self.columns, action), np.float32)
        self.reward = np.zeros((rows, self.columns, tasks), np.float32)
        self.measures = np.zeros((rows, self.columns, measures), np.float32)
        self.last = np.zeros((rows, self.columns), bool)
        self.terminal = np.zeros((rows, self.columns), bool)
        self.written = np.zeros(rows, np.int64)

    def __len__(self) -> int:
        return int(np.minimum(self.written, self.columns).sum())

    def add(
        self,
        observation: np.ndarray,
        action: np.ndarray,
        reward: np.ndarray,
        measures: np.ndarray | None = None,
    ) -> None:
        """Append a transition a row: observation [E, O], action [E, A], reward [E, T].

        measures [E, M]: what a sampler may put a price on; see `sample`.
        """
        rows = np.arange(self.rows)
        column = self._new(rows)
        self.observation[rows, column], self.action[rows, column] = observation, action
        self.reward[rows, column] = reward
        if measures is not None:
            self.measures[rows, column] = measures

    def finish(self, rows: np.ndarray, observation: np.ndarray, terminal: np.ndarray) -> None:
        """Append the final frames of the episodes of `rows`; `terminal` [len(rows)] bool."""
        column = self._new(rows)
        self.observation[rows, column] = observation
        self.last[rows, column], self.terminal[rows, column] = True, terminal

    def _new(self, rows: np.ndarray) -> np.ndarray:
        column = self.written[rows] % self.columns
        self.last[rows, column] = self.terminal[rows, column] = False
        self.written[rows] += 1
        return column

    def sample(
        self,
        count: int,
        steps: int,
        discount: float,
        own_share: float,
        rng: np.random.Generator,
        prices: np.ndarray | None = None,
    ) -> Samples:
        """Draw `count` transitions: every task equally often, `own_share` of them from its rows.

        Where another task's policy acted, one step is taken instead of `steps`: what came after
        the first action was not this task's choice. Rewards are less the measures times the task's
        `prices` [T, M].
        """
        task = np.arange(count) % self.tasks
        row = np.where(
            rng.random(count) < own_share,
            self._own_rows(task, rng),
            rng.integers(self.rows, size=count),
        )
        filled = np.minimum(self.written, self.columns)
        column = self._draw(row, filled, steps, rng)
        for _ in range(8):
            bad = np.flatnonzero(self.last[row, column])
            if not len(bad):
                break
            column[bad] = self._draw(row[bad], filled, steps, rng)
        good = ~self.last[row, column]
        row, column, task = row[good], column[good], task[good]
        total = np.zeros(len(row), np.float32)
        scale = np.ones(len(row), np.float32)
        alive = np.ones(len(row), bool)
        end = column.copy()
        own = self.owner[row] == task
        for step in range(steps):
            goes = alive if step == 0 else alive & own & ~self.last[row, end]
            gain = self.reward[row, end, task]
            if prices is not None:
                gain = gain - np.einsum("bm,bm->b", self.measures[row, end], prices[task])
            total += np.where(goes, scale * gain, 0.0)
            scale = np.where(goes, scale * np.float32(discount), scale)
            end = np.where(goes, (end + 1) % self.columns, end)
            alive = goes
        scale = np.where(self.terminal[row, end], 0.0, scale)
        return Samples(
            self.observation[row, column], self.action[row, column], task, total,
            self.observation[row, end], scale.astype(np.float32),
        )  # fmt: skip

    def _own_rows(self, task: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        per_task = self.rows // self.tasks
        return task * per_task + rng.integers(per_task, size=len(task))

    def _draw(
        self, row: np.ndarray, filled: np.ndarray, steps: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Draw columns of frames that have at least `steps` frames after them."""
        age = steps + (rng.random(len(row)) * (filled[row] - steps)).astype(np.int64)
        return (self.written[row] - 1 - age) % self.columns

    def save(self, path: Path) -> None:
        """Write everything to a safetensors file (only the columns in use)."""
        used = int(min(self.written.max(), self.columns))
        arrays = {name: np.ascontiguousarray(getattr(self, name)[:, :used]) for name in _ARRAYS}
        save_file(arrays | {"written": self.written}, path)

    def load(self, path: Path) -> None:
        """Restore what `save` wrote."""
        arrays = load_file(path)
        shape = arrays["reward"].shape
        if shape[0] != self.rows or shape[1] > self.columns or shape[2] != self.tasks:
            raise ValueError(
                f"the saved replay has {shape} rows x columns x tasks, this run has "
                f"{self.reward.shape}"
            )
        for name in _ARRAYS:
            getattr(self, name)[:, : shape[1]] = arrays[name]
        self.written[:] = arrays["written"]


_ARRAYS = ("observation", "action", "reward", "measures", "last", "terminal")
