"""How samples are spread over tasks: shares of every batch, and rows of the environment.

A scheduler hears of every finished training episode and answers with shares. It draws nothing:
the same history gives the same shares, and its state is JSON, so a resumed run goes on alike.
Knows no environment, no replay and no network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

KINDS = ("balanced", "learning_progress")


@dataclass(frozen=True)
class ScheduleConfig:
    """How samples are spread over tasks."""

    kind: str = "balanced"  # equal, as published; or "learning_progress"
    rows: bool = True  # learning_progress: it spreads the environment's rows, segment by segment
    batch: bool = True  # learning_progress: it spreads every batch
    explore: float = 0.4  # share that stays spread evenly
    quick: float = 10.0  # episodes, time constant of the recent score
    slow: float = 40.0  # episodes, time constant of the score it is compared with

    @property
    def moves_rows(self) -> bool:
        """Whether rows of the environment change hands."""
        return self.rows and self.kind != "balanced"

    @property
    def moves_batch(self) -> bool:
        """Whether shares of the batch change hands."""
        return self.batch and self.kind != "balanced"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"schedule.kind={self.kind!r}; there are {', '.join(KINDS)}")
        if not 0.0 < self.explore <= 1.0:
            raise ValueError(f"schedule.explore={self.explore} is not in (0, 1]")
        if not 1.0 <= self.quick < self.slow:
            raise ValueError(
                f"schedule.quick={self.quick} and schedule.slow={self.slow}: expected 1 <= quick "
                "< slow, in episodes"
            )


class Scheduler(Protocol):
    """What the trainer asks of a way to spread samples."""

    def observe(self, task: int, score: float) -> None:
        """Hear the score of a finished episode of `task`: its return per step of the limit."""
        ...

    def shares(self) -> NDArray:
        """Return the share of each task [T], positive, of sum 1."""
        ...

    def state(self) -> dict[str, Any]:
        """Return everything `load` needs, JSON-ready."""
        ...

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        ...


class Balanced:
    """The same shares for ever: equal (EZ-M), or as `replay.task_share` says."""

    def __init__(self, base: Sequence[float]) -> None:
        self.base = np.asarray(base, float) / sum(base)

    def observe(self, task: int, score: float) -> None:
        pass

    def shares(self) -> NDArray:
        return self.base

    def state(self) -> dict[str, Any]:
        return {}

    def load(self, state: dict[str, Any]) -> None:
        pass


class LearningProgress:
    """More for the tasks whose score moves (Matiisen et al. 2017; Portelas et al. 2019).

    Per task a quick and a slow exponential mean of the scores; their distance, up or down (what is
    being forgotten needs samples too), is its progress. Of all samples `explore` is spread as the
    base says, the rest by progress.
    """

    def __init__(self, base: Sequence[float], config: ScheduleConfig) -> None:
        self.base = np.asarray(base, float) / sum(base)
        self.config = config
        self.quick: list[float | None] = [None] * len(base)
        self.slow: list[float | None] = [None] * len(base)
        # rewards of order 1 are expected: below that, noise on a task that earns nothing would
        # look like progress; above, a task of larger rewards is measured by its own
        self.scale = [1.0] * len(base)

    def observe(self, task: int, score: float) -> None:
        quick, slow = self.quick[task], self.slow[task]
        if quick is None or slow is None:
            quick = slow = score
        self.quick[task] = quick + (score - quick) / self.config.quick
        self.slow[task] = slow + (score - slow) / self.config.slow
        self.scale[task] = max(self.scale[task], abs(score))

    def progress(self) -> NDArray:
        """Return the recent improvement of each task [T], 0 where nothing is known."""
        values = np.zeros(len(self.base))
        for task, (quick, slow) in enumerate(zip(self.quick, self.slow, strict=True)):
            if quick is not None and slow is not None:
                values[task] = abs(quick - slow) / self.scale[task]
        return values

    def shares(self) -> NDArray:
        wanted = self.progress() * self.base
        if wanted.sum() <= 0.0:
            return self.base
        explore = self.config.explore
        return explore * self.base + (1.0 - explore) * wanted / wanted.sum()

    def state(self) -> dict[str, Any]:
        return {"quick": list(self.quick), "slow": list(self.slow), "scale": list(self.scale)}

    def load(self, state: dict[str, Any]) -> None:
        if len(state.get("quick", ())) != len(self.base):
            raise ValueError(
                f"the saved scheduler knows {len(state.get('quick', ()))} tasks, this run "
                f"{len(self.base)}"
            )
        self.quick, self.slow = list(state["quick"]), list(state["slow"])
        self.scale = list(state["scale"])


def make_scheduler(config: ScheduleConfig, tasks: int, task_share: Sequence[float]) -> Scheduler:
    """Return the scheduler that `config.kind` names, over the base shares (empty: equal)."""
    base = task_share or [1.0] * tasks
    return Balanced(base) if config.kind == "balanced" else LearningProgress(base, config)


def allot(shares: NDArray, total: int, least: int = 1, most: int | None = None) -> NDArray:
    """Split `total` into whole numbers [T] near `shares`, each between `least` and `most`.

    What is furthest below its share gets the next one, the earlier task among equals.

    Raises:
        ValueError: `total` cannot be split so.
    """
    tasks = len(shares)
    most = total if most is None else most
    if not least * tasks <= total <= most * tasks:
        raise ValueError(f"{total} cannot be split into {tasks} parts of {least} to {most}")
    exact = total * np.asarray(shares, float) / np.sum(shares)
    counts = np.clip(np.floor(exact + 1e-9), least, most).astype(int)
    while counts.sum() > total:  # `least` lifted some above their share
        counts[np.argmax(np.where(counts > least, counts - exact, -np.inf))] -= 1
    while counts.sum() < total:
        counts[np.argmax(np.where(counts < most, exact - counts, -np.inf))] += 1
    return counts
