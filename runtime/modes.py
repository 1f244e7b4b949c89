"""The modes of the robot process: the only owner of transitions, and what each asks of the drives.

    ZERO_TORQUE -> DAMPING -> RAMP -> HOLD -> POLICY -> HOLD | DAMPING; anything -> ESTOP (latched)

Knows no robot, no wire and no policy: time, a verdict and a few facts come in, a mode comes out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from runtime import h1
from runtime.guard import Action
from runtime.state import JointTargets, RobotState


class Mode(IntEnum):
    """What the robot process is doing."""

    ZERO_TORQUE = 0  # drives free
    DAMPING = 1  # no position, only damping
    RAMP = 2  # from the latched pose to the start pose
    HOLD = 3  # stiff in the start pose
    POLICY = 4  # the commander's targets
    ESTOP = 5  # damping, latched until an explicit reset


STIFF = frozenset({Mode.RAMP, Mode.HOLD, Mode.POLICY})
_ALLOWED: dict[Mode, frozenset[Mode]] = {
    Mode.ZERO_TORQUE: frozenset({Mode.DAMPING}),
    Mode.DAMPING: frozenset({Mode.ZERO_TORQUE, Mode.RAMP}),
    Mode.RAMP: frozenset({Mode.DAMPING}),
    Mode.HOLD: frozenset({Mode.DAMPING, Mode.POLICY}),
    Mode.POLICY: frozenset({Mode.DAMPING, Mode.HOLD}),
    Mode.ESTOP: frozenset({Mode.DAMPING}),
}


@dataclass(frozen=True)
class ModeConfig:
    """Times in seconds. The defaults are a real robot's; `simulated` gives the simulator's."""

    autostart: bool = False  # one request for POLICY walks through RAMP and HOLD; never on hardware
    auto_reset: bool = False  # after a fall: back to the start and on; never on hardware
    damp_time: float = 0.5  # s, before the first RAMP
    ramp_time: float = 4.0  # s, from the latched pose to the start pose
    hold_time: float = 0.5  # s, before POLICY may be entered
    blend_time: float = 0.4  # s, from the held pose into the policy's targets
    entry_distance: float = 0.8  # rad, first target to measured pose; models/h1 asks for 0.76
    entry_timeout: float = 2.0  # s, waiting for targets that may enter POLICY
    fall_pause: float = 0.6  # s, damping after a fall, before the reset

    def __post_init__(self) -> None:
        """Refuse times and distances that are none: a phase that is NaN would be a pose."""
        for name, value in vars(self).items():
            if not (value >= 0.0 and math.isfinite(value)):
                raise ValueError(f"{name} must be a number of at least 0, got {value}")

    @classmethod
    def simulated(cls) -> ModeConfig:
        """Quick, and without blend: home is no equilibrium, the policy must act at once."""
        return cls(True, True, 0.1, 0.4, 0.2, 0.0, 10.0, 10.0, 0.6)


class ModeMachine:
    """Owns the mode. `goal` is where the commander wants to be."""

    def __init__(self, config: ModeConfig) -> None:
        self.config = config
        self.mode = Mode.ZERO_TORQUE
        self.goal = Mode.ZERO_TORQUE
        self.since = 0.0  # s, when the mode was entered
        self.reason = "start"
        self._asked = 0.0
        self._fell = False

    def request(self, mode: Mode, now: float) -> tuple[bool, str]:
        """Ask for a mode; return (granted, why not)."""
        if mode is Mode.ESTOP:
            self.emergency(now, "asked for")
            return True, ""
        if mode is self.mode:
            self.goal, self._fell = mode, False
            return True, ""
        walk = self.config.autostart and self.mode is not Mode.ESTOP and mode in STIFF
        if not walk and mode not in _ALLOWED[self.mode]:
            allowed = ", ".join(sorted(item.name for item in _ALLOWED[self.mode] | {Mode.ESTOP}))
            return False, f"{mode.name} cannot follow {self.mode.name}; allowed: {allowed}"
        self.goal, self._asked = (Mode.HOLD if mode is Mode.RAMP else mode), now
        if mode in (Mode.ZERO_TORQUE, Mode.DAMPING):
            self._enter(mode, now, "asked for")
        elif mode is Mode.HOLD and self.mode is Mode.POLICY:
            self._enter(Mode.HOLD, now, "asked for")
        elif not self.config.autostart and mode is Mode.RAMP:
            self._enter(Mode.RAMP, now, "asked for")
        return True, ""

    def update(self, now: float, *, verdict: Action, ready: bool, fallen: bool) -> Mode:
        """Advance by one tick.

        verdict: the guard's worst finding. ready: fresh targets, near enough, arrived in this tick.
        fallen: the robot is on the ground (a simulator knows).
        """
        if verdict is Action.ESTOP:
            self.emergency(now, "guard")
        elif verdict is Action.DAMP:
            if self.mode in STIFF:
                self._enter(Mode.DAMPING, now, "guard")
        elif fallen and self.mode is Mode.POLICY:
            keep = self.goal if self.config.auto_reset else Mode.DAMPING
            self._enter(Mode.DAMPING, now, "fell")
            self.goal, self._fell, self._asked = keep, True, now
        else:
            self._walk(now, ready)
        return self.mode

    def emergency(self, now: float, reason: str) -> None:
        """Latch ESTOP."""
        if self.mode is not Mode.ESTOP:
            self._enter(Mode.ESTOP, now, reason)

    def stop(self, now: float, reason: str) -> None:
        """Go to damping and stay there (shutdown, lost commander); an ESTOP stays one."""
        if self.mode is not Mode.ESTOP:
            self._enter(Mode.DAMPING, now, reason)

    def hand_over(self, now: float) -> None:
        """Let nothing go on that the last commander asked for; a pose that is held stays held."""
        if self.mode is Mode.POLICY:
            self.stop(now, "another commander")
        self.goal, self._fell = self.mode, False

    def _walk(self, now: float, ready: bool) -> None:
        config, age = self.config, now - self.since
        if self.mode is Mode.ZERO_TORQUE and self.goal > Mode.ZERO_TORQUE:
            self._step(Mode.DAMPING, now)
        elif self.mode is Mode.DAMPING and self.goal in STIFF and config.autostart:
            if age >= (config.fall_pause if self._fell else config.damp_time):
                self._step(Mode.RAMP, now)
                self._fell = False
        elif self.mode is Mode.RAMP and age >= config.ramp_time:
            self._step(Mode.HOLD, now)
            self._asked = now
        elif self.mode is Mode.HOLD and self.goal is Mode.POLICY:
            if ready and age >= config.hold_time:
                self._step(Mode.POLICY, now)
            elif now - self._asked > config.entry_timeout:
                self.goal, self.reason = (
                    Mode.HOLD,
                    "no fresh targets near the pose: POLICY not entered",
                )

    def _step(self, mode: Mode, now: float) -> None:
        goal = self.goal
        self._enter(mode, now, f"on the way to {goal.name}")
        self.goal = goal

    def _enter(self, mode: Mode, now: float, reason: str) -> None:
        self.mode = self.goal = mode
        self.since, self.reason = now, reason


class Setpoints:
    """What each mode asks of the drives. The start pose of a ramp is latched, never followed."""

    def __init__(self, config: ModeConfig) -> None:
        self.config = config
        self._mode = Mode.ZERO_TORQUE
        self._from = h1.DEFAULT_POSE.copy()  # rad, pose latched on entering the mode
        self._held = h1.DEFAULT_POSE.copy()  # rad, pose of HOLD
        self._last: JointTargets | None = None

    def targets(
        self, mode: Mode, age: float, state: RobotState, wanted: JointTargets | None
    ) -> JointTargets:
        """Return this tick's targets; `age`: seconds in the mode, `wanted`: the commander's."""
        if mode is not self._mode:
            self._latch(mode, state)
        if mode is Mode.RAMP:
            return self._ramp(age)
        if mode is Mode.HOLD:
            return _targets(self._held, h1.STIFFNESS, h1.DAMPING)
        if mode is Mode.POLICY and wanted is not None:
            self._last = self._blend(age, wanted)
            return self._last
        damping = np.zeros(h1.NUM_JOINTS) if mode is Mode.ZERO_TORQUE else h1.DAMPING
        return _targets(h1.DEFAULT_POSE, np.zeros(h1.NUM_JOINTS), damping)

    def _latch(self, mode: Mode, state: RobotState) -> None:
        self._from = np.array(state.joint_position)
        if mode is Mode.HOLD:
            came = self._mode is Mode.POLICY and self._last is not None
            pose = self._last.position if came and self._last else h1.DEFAULT_POSE
            self._held = np.clip(pose, h1.JOINT_LOWER, h1.JOINT_UPPER)
        self._mode = mode

    def _ramp(self, age: float) -> JointTargets:
        part = minimum_jerk(age / max(self.config.ramp_time, 1e-9))
        position = self._from + part * (h1.DEFAULT_POSE - self._from)
        return _targets(position, (0.2 + 0.8 * part) * h1.STIFFNESS, h1.DAMPING)

    def _blend(self, age: float, wanted: JointTargets) -> JointTargets:
        if age >= self.config.blend_time:
            return wanted
        part = minimum_jerk(age / self.config.blend_time)
        mixed = wanted.copy()
        mixed.position = self._held + part * (wanted.position - self._held)
        mixed.stiffness = h1.STIFFNESS + part * (wanted.stiffness - h1.STIFFNESS)
        mixed.damping = h1.DAMPING + part * (wanted.damping - h1.DAMPING)
        mixed.velocity, mixed.torque = part * wanted.velocity, part * wanted.torque
        return mixed


def minimum_jerk(phase: float) -> float:
    """Return the minimum-jerk profile 10 s^3 - 15 s^4 + 6 s^5 of a phase, held outside 0 .. 1."""
    s = min(max(phase, 0.0), 1.0)
    return s * s * s * (10.0 - 15.0 * s + 6.0 * s * s)


def _targets(position: np.ndarray, stiffness: np.ndarray, damping: np.ndarray) -> JointTargets:
    return JointTargets(0, 0.0, np.array(position), np.array(stiffness), np.array(damping))
