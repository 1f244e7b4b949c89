"""What a gentle demonstrator pays for: what a motor, a floor or an operator would not forgive.

The benchmark's rewards pay for speed and posture alone. They forgive joints faster than their
drives, kilowatts, and a robot that strolls backwards while it is told to stand.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from runtime import h1
from training.cli import ConfigError
from training.h1_env import H1Env
from training.rows import Step
from training.tasks import Readings

MEASURES = ("fast", "power", "forward", "sideways", "turned")
SPEED_ALLOWED = 0.8  # of a joint's limit; above, it costs

Float32 = NDArray[np.float32]


def measure(readings: Readings) -> Float32:
    """Return what N robots are to pay for, [N, 5], in the order of `MEASURES`.

    fast: mean over the joints of max(0, |velocity| / limit - 0.8)^2. power: the joints' absolute
    mechanical power, kW. forward, sideways: the base's absolute speed along world x and y, m/s.
    turned: the base's absolute yaw, rad.
    """
    speed = np.abs(readings.qvel[:, 6:25])
    fast = (np.maximum(speed / h1.VELOCITY_LIMIT - SPEED_ALLOWED, 0.0) ** 2).mean(axis=1)
    power = np.abs(readings.torque * speed).sum(axis=1) / 1000.0
    w, x, y, z = readings.qpos[:, 3:7].T
    yaw = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    base = np.abs(readings.qvel[:, :2])
    return np.stack([fast, power, base[:, 0], base[:, 1], np.abs(yaw)], axis=1).astype(np.float32)


def price_list(
    tasks: Sequence[str], speed: float, power: Sequence[float], drift: float, haste: float = 0.0
) -> Float32:
    """Return the price of every measure in every task, [T, 5], per step.

    speed: of `fast`. power: per kW, one number for all tasks or one each. drift: per m/s and rad of
    a motion that the task does not ask for; forward is asked for by all but `stand`. haste: per m/s
    forward in `walk`, whose reward is full at 1 m/s and forgives three.

    Raises:
        ConfigError: neither one power price nor one per task.
    """
    if len(power) not in (1, len(tasks)):
        raise ConfigError(
            f"{len(power)} prices of power for {len(tasks)} tasks: give one, or one per task"
        )
    forward = [{"stand": drift, "walk": haste}.get(name, 0.0) for name in tasks]
    columns = [[speed] * len(tasks), np.broadcast_to(power, len(tasks)), forward]
    columns += [[drift] * len(tasks)] * 2
    return np.stack(columns, axis=1).astype(np.float32)


class PricedEnv(H1Env):
    """The environment with what every row pays: its reward is net, `paid` is what it cost.

    Rows count in `paid` until their first episode ends, as `evaluate` counts them.
    """

    def charge(self, prices: Float32) -> None:
        """Set the prices of each row's task, [E, 5], and forget what was paid."""
        self.prices = prices
        self.paid = np.zeros(self.num_envs)
        self._open = np.ones(self.num_envs, bool)

    def step(self, action: np.ndarray) -> Step:
        step = super().step(action)
        cost = (measure(self.readings()) * self.prices).sum(axis=1)
        if step.failed is not None:
            cost = np.where(step.failed, 0.0, cost)
        self.paid += np.where(self._open, cost, 0.0)
        self._open &= ~(step.terminated | step.truncated)
        return Step(step.obs, step.reward - cost.astype(np.float32), step.terminated,
                    step.truncated, step.terms, step.failed)  # fmt: skip
