"""Numbers that are not finite: where they are, who is to blame, and what is said of them.

At collection the episode's end is dropped; in learning the update is skipped. Knows no
environment, no network and no replay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.reanalyse import TrainingBatch

IN_A_ROW = 10  # skipped updates after which a run stops
_READ = ("observation", "action", "reward", "value", "policy", "weight")  # by the losses


def not_finite(values: np.ndarray, what: str) -> np.ndarray:
    """Return [R] str: the first number of each row of values [R, C] that is not finite, or "".

    `what` a number is, with {} where its column belongs.
    """
    finite = np.isfinite(values)
    if finite.all():
        return np.full(len(values), "")
    first = np.where(finite.all(axis=1), -1, finite.argmin(axis=1))
    return np.array(
        ["" if c < 0 else f"{what.format(c)} is {values[row, c]}" for row, c in enumerate(first)]
    )


def first_of(*kinds: np.ndarray) -> np.ndarray:
    """Return [R] str: of several faults of a row the first that is one."""
    found = kinds[0]
    for kind in kinds[1:]:
        found = np.where(found == "", kind, found)
    return found


class Faults:
    """What was dropped and skipped since the last log line."""

    def __init__(self) -> None:
        self.failed = 0  # episodes that the simulation's breakdown ended
        self.dropped = 0  # episodes whose end was dropped
        self.skipped = 0  # updates
        self.told: dict[str, str] = {}  # the first of each kind

    def drop(self, failed: np.ndarray, fault: np.ndarray, tasks: Sequence[str]) -> None:
        """Note one step of R rows: failed [R] bool, fault [R] str, the rows' tasks."""
        self.failed += int(failed.sum())
        for row in np.flatnonzero(fault != "").tolist():
            self.dropped += 1
            self.told.setdefault("dropped", f"{tasks[row]} in row {row}: {fault[row]}")

    def skip(self, reason: str) -> None:
        """Note a skipped update."""
        self.skipped += 1
        self.told.setdefault("skipped", reason)

    def take(self) -> tuple[dict[str, Any], list[str]]:
        """Return what the metrics and the reader are told, and forget it."""
        facts = {
            "failed_episodes": self.failed,
            "dropped_blocks": self.dropped,
            "skipped_updates": self.skipped,
        }
        lines = []
        if self.failed:
            lines.append(f"{self.failed} episodes ended by a breakdown of the simulation")
        if self.dropped:
            lines.append(f"{self.dropped} blocks dropped; the first: {self.told['dropped']}")
        if self.skipped:
            lines.append(f"{self.skipped} updates skipped; the first: {self.told['skipped']}")
        self.__init__()
        return {name: count for name, count in facts.items() if count}, lines


def faulty(batch: TrainingBatch) -> Tensor:
    """Return [B] bool: the sample holds a number that is not finite; without waiting."""
    parts = [getattr(batch, name).reshape(len(batch.task), -1) for name in _READ]
    return ~torch.cat(parts, 1).isfinite().all(1)


def guilty(data: Tensor, result: Tensor) -> Tensor:
    """Return [B] bool: the samples to blame, of those faulty in their data and in their losses.

    Batch norm spreads one sample's fault over all losses, so data come first. Where every sample
    is at fault it is not the samples' but the networks', and none is blamed.
    """
    blamed = torch.where(data.any(), data, result)
    return blamed & ~blamed.all()


def reason(
    update: int, batch: TrainingBatch, blamed: Tensor, terms: dict[str, float], names: Sequence[str]
) -> str:
    """Return a sentence on a skipped update; `terms`: means of the losses."""
    data = [
        name for name in _READ
        if not bool(getattr(batch, name).isfinite().all())
    ]  # fmt: skip
    losses = [name for name, value in terms.items() if not np.isfinite(value)]
    counts = torch.bincount(batch.task[blamed], minlength=len(names)).tolist()
    whose = ", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True) if count)
    return (
        f"update {update}: not finite are {', '.join(data + losses) or 'the gradients alone'}; "
        f"samples to blame: {whose or 'none here'} of {len(batch.task)}"
    )
