"""A real robot's limits, for rows that shall learn to live with them.

In the robot process a guard watches every write (`runtime.guard`); a policy that was trained
without it meets targets that move slower than it asked, and is damped where a joint is too fast.
The defaults are `GuardConfig`'s (a test holds them equal), which this package does not import.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime import h1

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Limits:
    """What is done to a guarded row's targets, and where its episode ends."""

    position_margin: float = 0.02  # rad inside the joint range; targets are clipped to that
    rate: float = 20.0  # rad/s, the fastest a target may move; it is slowed to that
    velocity_factor: float = 1.2  # of the drive's limit
    velocity_ticks: int = 5  # sub-steps in a row that some joint is faster: that ends an episode
    velocity_most: float = 2.0  # of the drive's limit; one sub-step beyond it does too
    tilt: float = 1.0  # rad between pelvis and vertical; leaning further ends it

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (np.isfinite(value) and value >= 0.0):
                raise ValueError(f"{name} must be a number of at least 0, got {value}")

    def clip(self, targets: Array) -> Array:
        """Return targets [..., 19], rad, inside the joint range less its margin."""
        margin = self.position_margin
        return np.clip(targets, h1.JOINT_LOWER + margin, h1.JOINT_UPPER - margin)

    def leaning(self, orientation: Array) -> Bools:
        """Return [E] bool: does the pelvis, [E, 4] quaternions w x y z, lean too far?"""
        _, x, y, _ = orientation.T
        return 1 - 2 * (x * x + y * y) < np.cos(self.tilt)


REAL = Limits()


def spread(count: int, share: float, besides: Bools | None = None) -> Bools:
    """Return which of `count` rows are a share of them, evenly spread; [count] bool.

    besides: rows that are taken; the share is then of all, as far as the others suffice.
    """
    free = np.arange(count) if besides is None else np.flatnonzero(~besides)
    of_free = min(1.0, share * count / max(1, len(free)))
    steps = np.floor(np.arange(len(free) + 1) * of_free + 1e-9)
    chosen = np.zeros(count, bool)
    chosen[free[np.diff(steps) > 0]] = True
    return chosen
