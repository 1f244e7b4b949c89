"""The guard: what it finds at every 500 Hz write, what follows from it, and its books.

The order is that of `monitors.MONITORS`. A tick asks in three places: `admit` for targets that
arrive, `watch` for the robot and the ages, `apply` for what is about to be written. Knows no
robot, no wire, no policy and no mode.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from runtime import h1
from runtime.inside import Inside
from runtime.monitors import (
    MONITORS,
    Finding,
    check_above,
    check_battery,
    check_finite,
    check_gains,
    check_motors,
    check_temperature,
    check_tilt,
    check_velocity,
    clamp_position,
    clamp_torque,
    limit_rate,
)
from runtime.robot import Health
from runtime.state import JointTargets, RobotState

RECORD = 256  # findings kept, with their times
QUIET = 0.5  # s without a finding, after which the same monitor's next one is recorded anew
MARGIN_MOST = round(0.5 * float((h1.JOINT_UPPER - h1.JOINT_LOWER).min()), 3)  # rad
LOST_WINDOW = 50  # looks at the drives' counters (50 Hz: one second) per `lost_limit`


class Action(IntEnum):
    """What a finding leads to, mildest first."""

    OFF = 0
    WARN = 1  # counted and shown; a clamp is applied all the same
    HOLD = 2  # the last good targets stay
    DAMP = 3
    ESTOP = 4


@dataclass(frozen=True)
class GuardConfig:
    """Limits and actions. The defaults are a real robot's; `simulated` gives the simulator's."""

    finite: Action = Action.HOLD  # bad targets never replace good ones; age then does the rest
    gain_factor: float = 3.0  # of the robot's own gains
    gains: Action = Action.HOLD  # targets with gains beyond gain_factor
    target_hold: float = 0.06  # s, older targets are held and counted
    target_damp: float = 0.2  # s, older targets end in damping
    target_age: Action = Action.DAMP  # targets older than target_damp
    state_limit: float = 0.1  # s
    state_age: Action = Action.DAMP  # states older than state_limit
    crc_limit: int = 5  # states of wrong size or CRC one after the other
    state_crc: Action = Action.DAMP  # more of them than crc_limit
    frozen_limit: float = 0.1  # s in which new states tell not one new number
    state_frozen: Action = Action.DAMP  # the same numbers again and again
    state_finite: Action = Action.ESTOP  # a state with NaN or infinity
    position_margin: float = 0.02  # rad inside the joint range
    position: Action = Action.WARN  # a target outside the range: clipped, and
    rate_limit: float = 20.0  # rad/s of a target
    rate: Action = Action.WARN  # a target that moves too fast: slowed, and
    torque_factor: float = 1.0  # of the drive's limit
    torque: Action = Action.WARN  # a target that asks too much: moved, and
    velocity_factor: float = 1.2  # of the drive's limit
    velocity_ticks: int = 5  # looks in a row, 2 ms each, that find some joint beyond it
    velocity_most: float = 2.0  # of the drive's limit; one look is enough
    velocity: Action = Action.DAMP  # a joint too fast for longer than a foot's strike, or by far
    tilt_limit: float = 1.0  # rad between pelvis and vertical
    tilt_clear: float = 0.8  # rad, hysteresis
    tilt: Action = Action.DAMP  # leaning further than tilt_limit
    lost_limit: int = 20  # frames a drive loses within a second
    motor: Action = Action.DAMP  # drives that lose frames
    temperature_limit: float = 85.0  # degC of a drive; at 90 the robot itself raises its alarm
    temperature_clear: float = 80.0  # degC, hysteresis
    temperature: Action = Action.DAMP  # a drive hotter than temperature_limit
    battery_limit: float = 10.0  # %
    battery: Action = Action.WARN  # a charge below battery_limit
    deadline_limit: int = 25  # 2 ms deadlines missed one after the other, in one stall or in many
    deadline: Action = Action.DAMP  # missed deadlines beyond deadline_limit

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, Action) and not (value >= 0.0 and math.isfinite(value)):
                raise ValueError(f"{name} must be a number of at least 0, got {value}")
        if self.position_margin > MARGIN_MOST:  # a wider one would leave the range at its other end
            raise ValueError(
                f"position_margin must be at most {MARGIN_MOST:g} rad, half the narrowest range, "
                f"got {self.position_margin}"
            )

    @classmethod
    def simulated(cls) -> GuardConfig:
        """Do not touch what a trained policy does; see tests/runtime/test_lockstep.py.

        Falls are the simulator's to count, so tilt only warns. A target may cross a joint's range
        within one tick: the torque-aware clamp bounds the effect exactly as the model's own does.
        A simulator that is late lets time slip, so late ticks only warn.
        """
        return cls(
            position_margin=0.0,
            rate_limit=3000.0,
            velocity=Action.WARN,
            tilt=Action.WARN,
            deadline=Action.WARN,
            state_frozen=Action.WARN,
        )


LARGER_IS_TIGHTER = frozenset({"position_margin", "battery_limit"})


def loosened(old: GuardConfig, new: GuardConfig) -> list[str]:
    """Return the names of the limits and actions that are milder in `new` than in `old`."""
    milder = []
    for name, before in vars(old).items():
        after = vars(new)[name]
        grows = isinstance(before, Action) or name in LARGER_IS_TIGHTER
        if after < before if grows else after > before:
            milder.append(name)
    return milder


@dataclass
class Guard:
    """Applies all monitors in order, counts what fired, remembers the last finding."""

    config: GuardConfig
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MONITORS, 0))
    total: int = 0  # of all counts
    last: Finding | None = None
    record: deque[tuple[float, Action, Finding]] = field(
        default_factory=lambda: deque(maxlen=RECORD)
    )  # s of the robot process's clock, what followed, what was seen; one per burst
    now: float = 0.0  # s, set by the owner before each tick
    _previous: np.ndarray | None = None  # rad, the targets written last
    _fast: int = 0  # looks in a row that found some joint beyond velocity_factor
    _tilted: bool = False
    _hot: bool = False
    _lost: np.ndarray | None = None  # [19] the drives' counters at the window's begin
    _looks: int = 0
    _verdict: Action = Action.OFF
    _told: tuple[bytes, bytes] = (b"", b"")  # what the last state said
    _same: float = math.nan  # s, stamp of the first state that said it
    _inside: Inside = field(default_factory=Inside)
    _fired: dict[str, float] = field(default_factory=dict)  # s, when each monitor fired last

    def change(self, config: GuardConfig, *, configuring: bool) -> tuple[bool, str]:
        """Take new limits: tighter ones at any time, milder ones only while `configuring`."""
        milder = loosened(self.config, config)
        if milder and not configuring:
            return False, f"{', '.join(milder)}: loosened only in ZERO_TORQUE"
        self.config = config
        return True, ""

    def admit(self, targets: JointTargets) -> bool:
        """Refuse and count targets that are not complete, finite and of sane gains.

        They never replace good ones, whatever the action; the action is for the next `watch`.
        """
        if self._inside.admits(targets, self.config.gain_factor):
            return True
        found, action = check_finite(targets), self.config.finite
        if found is None:
            found, action = check_gains(targets, self.config.gain_factor), self.config.gains
        if found is not None:
            self._note(found, max(action, Action.WARN))
        return found is None

    def watch(
        self,
        state: RobotState,
        state_age: float,
        target_age: float | None,
        health: Health | None = None,
        misses: int = 0,
    ) -> Action:
        """Judge the ages, the state, the drives' health, and the deadlines missed in a row.

        target_age: s since the commander's targets came (None: none needed in this mode).
        health: None if there is nothing new about it.
        """
        config = self.config
        if target_age is not None and not target_age <= config.target_hold:
            self._judge_targets(target_age)
        if not state_age <= config.state_limit:
            self._note(Finding("state_age", state_age, config.state_limit), config.state_age)
        self._judge_change(state)
        if not state.finite:
            self._note(Finding("state_finite", math.nan, 0.0), config.state_finite)
            return self._take()
        if config.velocity is not Action.OFF:
            self._judge_speed(state.joint_velocity)
        if config.tilt is not Action.OFF:
            limit = config.tilt_clear if self._tilted else config.tilt_limit
            found = check_tilt(state.orientation, limit)
            self._tilted = found is not None
            if found is not None:
                self._note(found, config.tilt)
        if health is not None:
            self._judge_health(health)
        if misses > config.deadline_limit:
            self._note(Finding("deadline", misses, config.deadline_limit), config.deadline)
        return self._take()

    def apply(self, targets: JointTargets, state: RobotState, dt: float) -> JointTargets:
        """Return the targets that may be written: inside range, rate and torque, in this order."""
        config = self.config
        before, step = self._previous, config.rate_limit * dt
        start = state.joint_position if before is None else before
        if self._inside.keeps(targets, state, start, step, config):
            self._previous = targets.position
            return targets
        targets = dataclasses.replace(targets)
        if config.position is not Action.OFF:
            targets.position, found = clamp_position(targets.position, config.position_margin)
            if found is not None:
                self._note(found, config.position)
        if config.rate is not Action.OFF:
            targets.position, found = limit_rate(targets.position, start, step)
            if found is not None:
                self._note(found, config.rate)
        self._previous = targets.position
        if config.torque is not Action.OFF:
            targets.position, targets.torque, found = clamp_torque(
                targets, state, config.torque_factor
            )
            if found is not None:
                self._note(found, config.torque)
        return targets

    def forget(self) -> None:
        """Start the rate limit anew from the measured pose (after a mode without stiffness)."""
        self._previous = None

    def _judge_targets(self, age: float) -> None:
        config = self.config
        if config.target_age is Action.OFF:
            return
        self._note(Finding("target_hold", age, config.target_hold), Action.HOLD)
        found = check_above("target_damp", age, config.target_damp)
        if found is not None:
            self._note(found, config.target_age)

    def _judge_change(self, state: RobotState) -> None:
        """Find sensors that repeat themselves: real ones are never still to the last bit."""
        told = (state.joint_position.tobytes(), state.angular_velocity.tobytes())
        if told != self._told:
            self._told, self._same = told, state.stamp
        elif state.stamp - self._same > self.config.frozen_limit:
            since = state.stamp - self._same
            self._note(
                Finding("state_frozen", since, self.config.frozen_limit), self.config.state_frozen
            )

    def _judge_speed(self, velocity: np.ndarray) -> None:
        """Tell a joint that runs away from one that a foot's strike turned for a moment."""
        config = self.config
        found = check_velocity(velocity, config.velocity_factor)
        self._fast = 0 if found is None else self._fast + 1
        if found is not None and self._fast < config.velocity_ticks:
            found = check_velocity(velocity, config.velocity_most)
        if found is not None:
            self._note(found, config.velocity)

    def _judge_health(self, health: Health) -> None:
        config = self.config
        before = health.lost if self._lost is None else self._lost
        if self._lost is None or self._looks >= LOST_WINDOW:
            self._lost, self._looks = health.lost, 0
        self._looks += 1
        warm = config.temperature_clear if self._hot else config.temperature_limit
        found_heat = check_temperature(health.temperature, warm)
        self._hot = found_heat is not None
        crc = check_above("state_crc", health.broken_run, config.crc_limit)
        for found, action in (
            (crc, config.state_crc),
            (check_motors(health.lost, before, config.lost_limit), config.motor),
            (found_heat, config.temperature),
            (check_battery(health.battery, config.battery_limit), config.battery),
        ):
            if found is not None:
                self._note(found, action)

    def _take(self) -> Action:
        verdict, self._verdict = self._verdict, Action.OFF
        return verdict

    def _note(self, finding: Finding, action: Action) -> None:
        if action is Action.OFF:
            return
        name = finding.monitor
        self.counts[name] += 1
        self.total += 1
        self.last = finding
        if self.now - self._fired.get(name, -math.inf) > QUIET:
            self.record.append((self.now, action, finding))
        self._fired[name] = self.now
        if action > self._verdict:
            self._verdict = action
