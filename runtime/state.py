"""What a robot reports, what it is told, and what a person wants: plain data in SI units.

Joint order is `runtime.h1.JOINT_NAMES` everywhere. Knows no robot, no wire and no policy.
Every array may carry leading batch dimensions, written `...` below.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

JOINTS = 19


def _unknown() -> np.ndarray:
    return np.full(3, np.nan)


def squares(array: np.ndarray) -> float:
    """Return the sum of squares, as NaN or infinity without a warning if a number is none.

    What a wire leaves unaligned is copied: numpy 1, which ROS's own packages need, crashes on it.
    """
    array = array if array.flags.aligned else array.copy()
    return float(np.vdot(array, array))


def _finite(array: np.ndarray) -> bool:
    """Return True for finite numbers below 1e150: their squares add up to a finite number."""
    return math.isfinite(squares(array))


def _zeros() -> np.ndarray:
    return np.zeros(JOINTS)


@dataclass(slots=True)
class RobotState:
    """One reading of the robot."""

    stamp: float  # s, monotonic clock of the robot process
    orientation: np.ndarray  # [..., 4] pelvis in the world, w x y z
    angular_velocity: np.ndarray  # [..., 3] rad/s, pelvis frame
    joint_position: np.ndarray  # [..., 19] rad
    joint_velocity: np.ndarray  # [..., 19] rad/s
    joint_torque: np.ndarray = field(default_factory=_zeros)  # [..., 19] N m, measured or estimated
    base_position: np.ndarray = field(default_factory=_unknown)  # [..., 3] m, world; NaN if unknown
    base_linear_velocity: np.ndarray = field(default_factory=_unknown)  # [..., 3] m/s, world; ditto

    @property
    def finite(self) -> bool:
        """True if everything that every robot can measure is a finite number."""
        arrays = (self.orientation, self.angular_velocity, self.joint_position, self.joint_velocity)
        return all(_finite(array) for array in arrays)


@dataclass(slots=True)
class JointTargets:
    """One request to the 19 drives: torque = tau + kp (q* - q) + kd (dq* - dq)."""

    seq: int
    stamp: float  # s, monotonic clock of the sender: for its own use, never for ageing
    position: np.ndarray  # [19] rad
    stiffness: np.ndarray  # [19] N m / rad
    damping: np.ndarray  # [19] N m s / rad
    velocity: np.ndarray = field(default_factory=_zeros)  # [19] rad/s
    torque: np.ndarray = field(default_factory=_zeros)  # [19] N m, feed-forward

    @property
    def finite(self) -> bool:
        """True if all five rows are complete and finite."""
        rows = (self.position, self.velocity, self.torque, self.stiffness, self.damping)
        return all(row.shape == (JOINTS,) and _finite(row) for row in rows)

    def copy(self) -> JointTargets:
        """Return an independent copy."""
        return JointTargets(
            seq=self.seq,
            stamp=self.stamp,
            position=self.position.copy(),
            stiffness=self.stiffness.copy(),
            damping=self.damping.copy(),
            velocity=self.velocity.copy(),
            torque=self.torque.copy(),
        )


@dataclass(slots=True)
class Command:
    """What a person wants: a task, by name or by index into the policy's tasks, and a direction."""

    task: str | np.ndarray  # name, or indices [...]
    heading: float | np.ndarray = 0.0  # rad, world yaw wanted; may be [...]
    velocity: tuple[float, float, float] = (0.0, 0.0, 0.0)  # vx, vy m/s, wz rad/s wanted


def state_from_generalized(
    qpos: np.ndarray, qvel: np.ndarray, *, stamp: float = 0.0, torque: np.ndarray | None = None
) -> RobotState:
    """Read a floating-base robot's state out of MuJoCo-ordered coordinates.

    qpos [..., >= 26]: pelvis position 3, quaternion w x y z 4, joints 19.
    qvel [..., >= 25]: pelvis linear velocity 3 (world axes), angular velocity 3 (pelvis axes),
    joints 19. Extra coordinates of other bodies behind them are ignored.
    """
    qpos, qvel = np.asarray(qpos, np.float64), np.asarray(qvel, np.float64)
    joints = qpos[..., 7 : 7 + JOINTS]
    return RobotState(
        stamp=stamp,
        orientation=qpos[..., 3:7],
        angular_velocity=qvel[..., 3:6],
        joint_position=joints,
        joint_velocity=qvel[..., 6 : 6 + JOINTS],
        joint_torque=np.zeros_like(joints) if torque is None else np.asarray(torque, np.float64),
        base_position=qpos[..., 0:3],
        base_linear_velocity=qvel[..., 0:3],
    )
