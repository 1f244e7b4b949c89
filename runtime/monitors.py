"""The guard's monitors, each a pure function: a value and its limit in, a Finding or nothing out.

Knows no robot, no wire, no policy, no mode, and not what a finding leads to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from runtime import h1
from runtime.state import JointTargets, RobotState

MONITORS = (
    "finite",
    "gains",
    "target_hold",
    "target_damp",
    "state_age",
    "state_crc",
    "state_frozen",
    "state_finite",
    "position",
    "rate",
    "torque",
    "velocity",
    "tilt",
    "motor",
    "temperature",
    "battery",
    "deadline",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a monitor saw: `value` broke `limit`, at `joint` if it belongs to one."""

    monitor: str
    value: float
    limit: float
    joint: int = -1

    def __str__(self) -> str:
        where = f" {h1.JOINT_NAMES[self.joint]}" if self.joint >= 0 else ""
        sign = "<" if self.value < self.limit else ">"
        return f"{self.monitor}:{where} {self.value:.4g} {sign} {self.limit:.4g}"


def check_finite(targets: JointTargets) -> Finding | None:
    """Find targets that are incomplete or not finite."""
    return None if targets.finite else Finding("finite", float("nan"), 0.0)


def check_gains(targets: JointTargets, factor: float) -> Finding | None:
    """Find gains and speeds above `factor` times the robot's own, torques above its limit."""
    rows = (
        (targets.stiffness, h1.STIFFNESS),
        (targets.damping, h1.DAMPING),
        (np.abs(targets.velocity), h1.VELOCITY_LIMIT),
        (np.abs(targets.torque) * factor, h1.TORQUE_LIMIT),
    )
    for row, usual in rows:
        over = np.where(row < 0.0, np.inf, row / usual)
        worst = int(over.argmax())
        if over[worst] > factor:
            return Finding("gains", float(over[worst]), factor, worst)
    return None


def check_above(monitor: str, value: float, limit: float) -> Finding | None:
    """Find a value above its limit, or one that is not a number."""
    return None if value <= limit else Finding(monitor, float(value), limit)


def check_velocity(velocity: np.ndarray, factor: float) -> Finding | None:
    """Find a joint faster than `factor` times its drive's limit, in either direction."""
    over = np.abs(velocity) - factor * h1.VELOCITY_LIMIT
    worst = int(over.argmax())
    if over[worst] <= 0.0:
        return None
    limit = factor * float(h1.VELOCITY_LIMIT[worst])
    return Finding("velocity", abs(float(velocity[worst])), limit, worst)


def check_tilt(orientation: np.ndarray, limit: float) -> Finding | None:
    """Find a pelvis that leans more than `limit` rad away from the vertical."""
    w, x, y, z = orientation.tolist()
    norm = w * w + x * x + y * y + z * z
    cosine = (w * w + z * z - x * x - y * y) / norm if norm > 0.0 else math.nan
    return check_above("tilt", math.acos(min(1.0, max(-1.0, cosine))), limit)


def check_temperature(temperature: np.ndarray, limit: float) -> Finding | None:
    """Find a drive [19] hotter than `limit` degC."""
    worst = int(temperature.argmax())
    hot = float(temperature[worst])
    return None if hot <= limit else Finding("temperature", hot, limit, worst)


def check_motors(lost: np.ndarray, before: np.ndarray, limit: int) -> Finding | None:
    """Find a drive that lost more than `limit` frames [19] since the counters were `before`."""
    since = lost - before
    worst = int(since.argmax())
    return Finding("motor", float(since[worst]), limit, worst) if since[worst] > limit else None


def check_battery(charge: float, limit: float) -> Finding | None:
    """Find a charge below `limit` percent; an unknown one (NaN) is none of ours."""
    return Finding("battery", charge, limit) if charge < limit else None


def clamp_position(position: np.ndarray, margin: float) -> tuple[np.ndarray, Finding | None]:
    """Keep targets [19] inside the joint range, `margin` rad away from its ends."""
    clamped = np.minimum(np.maximum(position, h1.JOINT_LOWER + margin), h1.JOINT_UPPER - margin)
    return clamped, _largest("position", np.abs(clamped - position), margin, 1e-9)


def limit_rate(
    position: np.ndarray, previous: np.ndarray, step: float
) -> tuple[np.ndarray, Finding | None]:
    """Keep targets [19] within `step` rad of the previous ones."""
    limited = np.minimum(np.maximum(position, previous - step), previous + step)
    return limited, _largest("rate", np.abs(position - previous), step, step)


def clamp_torque(
    targets: JointTargets, state: RobotState, factor: float
) -> tuple[np.ndarray, np.ndarray, Finding | None]:
    """Return q* [19] and tau [19] such that |kp (q* - q) + kd (dq* - dq) + tau| is within limits.

    Where there is stiffness worth the name q* moves, elsewhere tau does.
    """
    limit = factor * h1.TORQUE_LIMIT
    rest = targets.damping * (targets.velocity - state.joint_velocity) + targets.torque
    torque = targets.stiffness * (targets.position - state.joint_position) + rest
    over = np.abs(torque) - limit
    worst = int(over.argmax())
    if over[worst] <= 0.0:
        return targets.position, targets.torque, None
    allowed = np.minimum(np.maximum(torque, -limit), limit)
    stiff, broken = targets.stiffness > 0.01 * h1.STIFFNESS, over > 0.0
    moved = state.joint_position + (allowed - rest) / np.where(stiff, targets.stiffness, 1.0)
    position = np.where(broken & stiff, moved, targets.position)
    feed = np.where(broken & ~stiff, targets.torque + allowed - torque, targets.torque)
    return position, feed, Finding("torque", abs(float(torque[worst])), float(limit[worst]), worst)


def _largest(monitor: str, size: np.ndarray, limit: float, above: float) -> Finding | None:
    worst = int(size.argmax())
    return Finding(monitor, float(size[worst]), limit, worst) if size[worst] > above else None
