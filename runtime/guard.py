"""The guard: every target passes it at every 500 Hz write, in the order given in `Guard.apply`.

Each monitor is a pure function with a limit and returns a Finding or nothing; each has an action
and a counter. Knows no robot, no wire, no policy and no mode.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from runtime import h1
from runtime.state import JointTargets, RobotState


class Action(IntEnum):
    """What a finding leads to, mildest first."""

    OFF = 0
    WARN = 1  # counted and shown; a clamp is applied all the same
    HOLD = 2  # the last good targets stay
    DAMP = 3
    ESTOP = 4


@dataclass(frozen=True, slots=True)
class Finding:
    """What a monitor saw: `value` broke `limit`, at `joint` if it belongs to one."""

    monitor: str
    value: float
    limit: float
    joint: int = -1

    def __str__(self) -> str:
        where = f" {h1.JOINT_NAMES[self.joint]}" if self.joint >= 0 else ""
        return f"{self.monitor}:{where} {self.value:.4g} > {self.limit:.4g}"


MONITORS = (
    "finite",
    "gains",
    "target_hold",
    "target_damp",
    "state_age",
    "state_finite",
    "position",
    "rate",
    "torque",
    "velocity",
    "tilt",
)


@dataclass(frozen=True)
class GuardConfig:
    """Limits and actions. The defaults are a real robot's; `simulated` gives the simulator's."""

    finite: Action = Action.HOLD  # bad targets never replace good ones; age then does the rest
    gain_factor: float = 3.0  # of the robot's own gains
    gains: Action = Action.HOLD
    target_hold: float = 0.06  # s, older targets are held and counted
    target_damp: float = 0.2  # s, older targets end in damping
    target_age: Action = Action.DAMP
    state_limit: float = 0.1  # s
    state_age: Action = Action.DAMP
    state_finite: Action = Action.ESTOP
    position_margin: float = 0.02  # rad inside the joint range
    position: Action = Action.WARN
    rate_limit: float = 20.0  # rad/s of a target
    rate: Action = Action.WARN
    torque_factor: float = 1.0  # of the drive's limit
    torque: Action = Action.WARN
    velocity_factor: float = 1.2  # of the drive's limit
    velocity: Action = Action.DAMP
    tilt_limit: float = 1.0  # rad between pelvis and vertical
    tilt_clear: float = 0.8  # rad, hysteresis
    tilt: Action = Action.DAMP

    @classmethod
    def simulated(cls) -> GuardConfig:
        """Do not touch what a trained policy does; see tests/runtime/test_guard_parity.py.

        Falls are the simulator's to count, so tilt only warns. A target may cross a joint's range
        within one tick: the torque-aware clamp bounds the effect exactly as the model's own does.
        """
        return cls(
            position_margin=0.0,
            rate_limit=3000.0,
            velocity=Action.WARN,
            tilt=Action.WARN,
        )


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


@dataclass
class Guard:
    """Applies all monitors in order, counts what fired, remembers the last finding."""

    config: GuardConfig
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MONITORS, 0))
    total: int = 0  # of all counts
    last: Finding | None = None
    _previous: np.ndarray | None = None  # rad, the targets written last
    _tilted: bool = False
    _verdict: Action = Action.OFF

    def admit(self, targets: JointTargets) -> bool:
        """Refuse and count targets that are not complete, finite and of sane gains.

        They never replace good ones, whatever the action; the action is for the next `watch`.
        """
        found, action = check_finite(targets), self.config.finite
        if found is None:
            found, action = check_gains(targets, self.config.gain_factor), self.config.gains
        self._note(found, max(action, Action.WARN))
        return found is None

    def watch(self, state: RobotState, state_age: float, target_age: float | None) -> Action:
        """Judge the state, its age, and the age of the commander's targets (None: none needed)."""
        config = self.config
        if not state.finite:
            self._note(Finding("state_finite", float("nan"), 0.0), config.state_finite)
            return self._take()
        self._note(check_above("state_age", state_age, config.state_limit), config.state_age)
        if target_age is not None and config.target_age is not Action.OFF:
            self._note(check_above("target_hold", target_age, config.target_hold), Action.HOLD)
            late = check_above("target_damp", target_age, config.target_damp)
            self._note(late, config.target_age)
        if config.velocity is not Action.OFF:
            found = check_velocity(state.joint_velocity, config.velocity_factor)
            self._note(found, config.velocity)
        if config.tilt is not Action.OFF:
            limit = config.tilt_clear if self._tilted else config.tilt_limit
            found = check_tilt(state.orientation, limit)
            self._tilted = found is not None
            self._note(found, config.tilt)
        return self._take()

    def apply(self, targets: JointTargets, state: RobotState, dt: float) -> JointTargets:
        """Return the targets that may be written: inside range, rate and torque, in this order."""
        config, targets = self.config, dataclasses.replace(targets)
        if config.position is not Action.OFF:
            targets.position, found = clamp_position(targets.position, config.position_margin)
            self._note(found, config.position)
        if config.rate is not Action.OFF:
            start = state.joint_position if self._previous is None else self._previous
            targets.position, found = limit_rate(targets.position, start, config.rate_limit * dt)
            self._note(found, config.rate)
        self._previous = targets.position
        if config.torque is not Action.OFF:
            targets.position, targets.torque, found = clamp_torque(
                targets, state, config.torque_factor
            )
            self._note(found, config.torque)
        return targets

    def forget(self) -> None:
        """Start the rate limit anew from the measured pose (after a mode without stiffness)."""
        self._previous = None

    def _take(self) -> Action:
        verdict, self._verdict = self._verdict, Action.OFF
        return verdict

    def _note(self, finding: Finding | None, action: Action) -> None:
        if finding is None or action is Action.OFF:
            return
        self.counts[finding.monitor] += 1
        self.total += 1
        self.last = finding
        self._verdict = max(self._verdict, action)
