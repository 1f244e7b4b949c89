"""Priorities of a ring of frames, and draws in proportion to them; knows nothing of frames.

Sums and counts of blocks of neighbouring frames are kept, so that a draw reads some blocks and not
the whole ring. A block that was touched is summed anew from its frames: nothing drifts, and a ring
that was loaded draws what the saved one would have drawn.
"""

from __future__ import annotations

import numpy as np

BLOCK = 128  # frames


class Priorities:
    """Numbers >= 0 in E rows of C columns; what has 0 is never drawn."""

    def __init__(self, rows: int, columns: int):
        blocks = -(-columns // BLOCK)
        self.columns = columns
        self._blocks = np.zeros((rows, blocks, BLOCK), np.float64)
        self._flat = self._blocks.reshape(rows, blocks * BLOCK)
        self.values = self._flat[:, :columns]  # [E, C], to be read: `set` keeps the sums true
        self.values.flags.writeable = False
        self._stale = np.zeros((rows, blocks), bool)  # touched since it was summed
        self._sum = np.zeros((rows, blocks), np.float64)
        self._count = np.zeros((rows, blocks), np.int64)  # of those above 0
        self._running = np.zeros(rows * blocks, np.float64)  # sums up to and with each block
        self._passed = np.zeros((rows, blocks), np.int64)  # count of the row before each block

    def set(self, row: np.ndarray, column: np.ndarray, value: np.ndarray | float) -> None:
        """Give the frames at rows [n], columns [n] these priorities."""
        self._flat[row, column] = value
        self._stale[row, column // BLOCK] = True

    def load(self, values: np.ndarray) -> None:
        """Take up the priorities [E, c] of the first c columns."""
        self._flat[:, : values.shape[1]] = values
        self._stale[:] = True

    def total(self) -> float:
        """Return the sum of all."""
        self._refresh()
        return float(self._running[-1])

    def count(self) -> int:
        """Return how many can be drawn."""
        self._refresh()
        return int(self._count.sum())

    def draw(self, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return rows [n], columns [n] where the running sum passes `shares` [n] of the total.

        The sum runs over row after row; shares are in 0..1, and something must have a priority.
        """
        total = self.total()
        draws = np.minimum(shares * total, np.nextafter(total, 0.0))
        block = np.searchsorted(self._running, draws, side="right")
        before = np.where(block > 0, self._running[block - 1], 0.0)
        row, block = np.divmod(block, self._sum.shape[1])
        within = np.cumsum(self._blocks[row, block], axis=1)
        # the blocks' sums are rounded: what is left must not point past the block's last frame
        rest = np.minimum(draws - before, np.nextafter(within[:, -1], 0.0))
        place = np.count_nonzero(within <= rest[:, None], axis=1)
        return row, block * BLOCK + place

    def count_before(self, end: np.ndarray, span: int) -> int:
        """Return how many can be drawn of the `span` columns before `end` [E], round the ring."""
        self._refresh()
        begin = end - min(span, self.columns)
        found = self._up_to(end) - self._up_to(np.maximum(begin, 0))
        beyond = self._count.sum(1) - self._up_to(begin % self.columns)
        return int(found.sum() + beyond[begin < 0].sum())

    def _up_to(self, column: np.ndarray) -> np.ndarray:
        """Return how many of each row can be drawn in the columns before `column` [E]."""
        rows = np.arange(len(column))
        block, rest = np.divmod(column, BLOCK)
        begun = (self._blocks[rows, block] > 0.0) & (np.arange(BLOCK) < rest[:, None])
        return self._passed[rows, block] + np.count_nonzero(begun, axis=1)

    def _refresh(self) -> None:
        """Sum the blocks that were touched."""
        stale = np.flatnonzero(self._stale)
        if not len(stale):
            return
        touched = self._blocks.reshape(-1, BLOCK)[stale]
        # one after the other, as a draw adds them; numpy's pairwise sum rounds otherwise
        self._sum.ravel()[stale] = np.cumsum(touched, axis=1)[:, -1]
        self._count.ravel()[stale] = np.count_nonzero(touched, axis=1)
        self._stale.ravel()[stale] = False
        self._running = np.cumsum(self._sum)
        self._passed = np.cumsum(self._count, axis=1) - self._count
