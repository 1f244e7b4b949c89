"""Which tasks have nothing more to gain from short episodes (EZ-M release, spec §2.2)."""

from __future__ import annotations

from collections import deque

import numpy as np

EPISODES = 10  # whose returns are looked at
LEAST = 60.0  # return that each of them must exceed


class Saturation:
    """Remembers the last returns of every task, and which tasks were once saturated."""

    def __init__(self, tasks: int, share: float) -> None:
        """`share`: of the largest return, within which a saturated task's lie; 0: none ever is."""
        self.share = share
        self.returns = [deque[float](maxlen=EPISODES) for _ in range(tasks)]
        self.reached = np.zeros(tasks, bool)  # [T]; for good, since longer episodes earn more

    def observe(self, task: int, value: float) -> None:
        """Take down the return of an episode."""
        self.returns[task].append(value)
        self.reached[task] |= self._now(self.returns[task])

    def _now(self, returns: deque[float]) -> bool:
        low, high = min(returns), max(returns)
        return len(returns) == EPISODES and low > LEAST and high - low < self.share * high

    def state(self) -> dict[str, list]:
        """Return what `load` takes, for JSON."""
        return {"returns": [list(each) for each in self.returns], "reached": self.reached.tolist()}

    def load(self, state: dict[str, list]) -> None:
        """Go on from a saved state; an empty one, of an older run, changes nothing."""
        if state:
            self.returns = [deque(each, maxlen=EPISODES) for each in state["returns"]]
            self.reached = np.array(state["reached"], bool)
