"""When an update is due: the ratio of updates to data as a hard constraint, a first fill before it.

Counts steps and updates; knows neither networks nor environments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from training import schedules
from training.config import TrainConfig

PATIENCE = 10  # times the first fill, until a task must have a window to learn from


class Pace:
    """The steps of a run, and how many updates they pay for."""

    def __init__(self, config: TrainConfig, window: int, pretrain: int, shown: bool):
        """`pretrain`: updates on demonstrations alone, before any step; `shown`: there are some."""
        self.config, self.pretrain = config, pretrain
        rows = config.collect.envs_per_task
        self.random_first = not shown
        random_steps = config.collect.random_steps if self.random_first else 0
        # steps of each task before the first update: one complete window in every row at least
        self.fill = max(random_steps, rows * (window + 1))
        self.steps = 0  # environment steps of each task
        self.empty_at = 0  # of them, those before the replay was last empty
        self.unpaid = 0  # of them, those that filled it anew: they buy no update

    @property
    def random(self) -> bool:
        """Whether the next action is a random one."""
        return self.random_first and self.steps <= self.fill

    @property
    def filling(self) -> bool:
        """Whether the replay is too empty to learn from."""
        return self.steps - self.empty_at <= self.fill

    def step(self) -> None:
        """Count a step of every row."""
        rows = self.config.collect.envs_per_task
        self.unpaid += rows if self.filling and self.empty_at else 0
        self.steps += rows

    def emptied(self) -> None:
        """Begin with an empty replay, at the steps that there were."""
        self.empty_at = self.steps

    def owed(self, updates: int, limit: int, ready: Callable[[], bool]) -> int:
        """Return how many updates may follow on `updates` now, `limit` at most.

        The ratio of updates to steps allows them; those on demonstrations alone come before it,
        those without new data after it. `ready`: whether every task has a window.
        """
        filled = not self.filling
        if filled and self.steps - self.empty_at <= PATIENCE * self.fill:
            filled = ready()  # what was dropped may have been all there is
        own = updates - self.pretrain  # updates on its own experience too
        online = self.config.online_updates - updates  # still to come
        paid, ratio = self.steps - self.unpaid, self.config.update_ratio
        count = 0
        while count < limit and (
            own + count < 0
            or (filled and count >= online)
            or (filled and schedules.due(own + count, ratio, paid))
        ):
            count += 1
        return count

    def state(self) -> dict[str, Any]:
        """Return what `load` takes, for JSON."""
        return {"steps": self.steps, "unpaid": self.unpaid}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.steps, self.unpaid = int(state["steps"]), int(state.get("unpaid", 0))
