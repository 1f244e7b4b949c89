"""What the robot process needs of a robot, simulated or real. Knows nothing of modes and wires."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from runtime.state import JointTargets, RobotState


class RobotError(RuntimeError):
    """A robot cannot be opened or does not answer."""


@dataclass(frozen=True, slots=True)
class Health:
    """What a real robot tells about itself besides its motion; `Robot.health`, if there is one."""

    temperature: np.ndarray  # [19] degC of the drives
    lost: np.ndarray  # [19] frames each drive lost so far
    battery: float  # %
    broken: int  # states of wrong size or CRC so far
    broken_run: int  # of these, one after the other until now


class Robot(Protocol):
    """19 drives and their sensors.

    The three verbs `place`, `catch` and `release` belong to whatever holds the robot up: in
    simulation a support of the pelvis, in the room a gantry and the people at it (no-ops there).
    """

    @property
    def alarm(self) -> str:
        """Why the robot must stop at once (its remote, a hot motor), or an empty string."""
        ...

    @property
    def fallen(self) -> bool:
        """True if the robot is known to lie on the ground."""
        ...

    def read(self) -> RobotState:
        """Return the newest state; its stamp says when it was measured."""
        ...

    def write(self, targets: JointTargets, ticks: int = 1) -> None:
        """Send targets to the drives; `ticks` 2 ms periods have passed since the last write."""
        ...

    def place(self) -> None:
        """Put the robot into the start pose and hold it there."""
        ...

    def catch(self) -> None:
        """Hold the robot up where it is."""
        ...

    def release(self) -> None:
        """Let the robot stand on its own feet."""
        ...

    def close(self) -> None:
        """Let go of the hardware."""
        ...


class Scored(Protocol):
    """What a simulated robot also tells: how well it does its task, as HumanoidBench counts it."""

    task: str
    reward: float  # of the last 20 ms; NaN for tasks the runtime cannot score
    reward_sum: float  # since construction, over released time
    windows: int  # number of 20 ms windows in the sum
