"""Domain randomisation: what differs from one episode of a robot to the next, and by how much.

Off unless asked for; the benchmark's own robot is always the same. Knows the compiled model, no
task.
"""

# The compiled part of mujoco ships no type stubs.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

Range = tuple[float, float]


@dataclass(frozen=True)
class Randomization:
    """Ranges of factors on the nominal figures, drawn anew for every episode, and pushes."""

    friction: Range = (0.7, 1.2)  # one factor, all geoms, the sliding coefficient
    link_mass: Range = (0.9, 1.1)  # one factor per link, on its mass and inertia
    stiffness: Range = (0.9, 1.1)  # one factor per joint
    damping: Range = (0.9, 1.1)  # one factor per joint
    push_speed: float = 0.3  # m/s; the base's x and y velocity jump by up to this
    push_interval: float = 4.0  # s between pushes, on average; 0 for none

    def __post_init__(self) -> None:
        """Refuse ranges that are empty or reach zero."""
        for name in ("friction", "link_mass", "stiffness", "damping"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} must satisfy 0 < low <= high, got {(low, high)}")
        if self.push_speed < 0 or self.push_interval < 0:
            raise ValueError("push_speed and push_interval must not be negative")

    def apply(
        self,
        model: mujoco.MjModel,
        nominal: mujoco.MjModel,
        data: mujoco.MjData,
        generator: np.random.Generator,
    ) -> None:
        """Overwrite `model`'s figures with newly drawn ones; `data` is scratch, left at qpos0."""
        mass = generator.uniform(*self.link_mass, model.nbody)
        model.geom_friction[:, 0] = nominal.geom_friction[:, 0] * generator.uniform(*self.friction)
        model.body_mass[:] = nominal.body_mass * mass
        model.body_inertia[:] = nominal.body_inertia * mass[:, None]
        stiffness = nominal.actuator_gainprm[:, 0] * generator.uniform(*self.stiffness, model.nu)
        model.actuator_gainprm[:, 0] = stiffness
        model.actuator_biasprm[:, 1] = -stiffness
        damping = generator.uniform(*self.damping, model.nu)
        model.actuator_biasprm[:, 2] = nominal.actuator_biasprm[:, 2] * damping
        mujoco.mj_setConst(model, data)

    def push(self, generator: np.random.Generator) -> np.ndarray:
        """Return a jump of the base's horizontal velocity [2], m/s."""
        return generator.uniform(-self.push_speed, self.push_speed, 2)

    def steps_to_push(self, generator: np.random.Generator, control_dt: float) -> int:
        """Return in how many control steps the next push comes; without pushes, 2**62."""
        if not self.push_interval or not self.push_speed:
            return 2**62
        return 1 + int(generator.exponential(self.push_interval / control_dt))
