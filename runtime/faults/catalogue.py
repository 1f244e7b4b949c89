"""The named faults, what each turns, and what the robot process owes in answer.

Ten words per fault: what happens, which modes it may end in, when damping is due, and what comes
after: nothing happened, a person may start again, or a latch must be reset first.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from runtime import h1
from runtime.faults import attacks
from runtime.faults.rig import Rig
from runtime.modes import Mode
from runtime.state import JointTargets, RobotState

Alter = Callable[[JointTargets, np.random.Generator], JointTargets]
Sense = Callable[[RobotState], RobotState]
SAME, DAMP, STOP = frozenset({Mode.POLICY}), frozenset({Mode.DAMPING}), frozenset({Mode.ESTOP})
EITHER = SAME | DAMP  # the robot may fall over it, and then the tilt monitor damps
HOLD, TARGETS, STATE = 0.06, 0.2 + h1.CONTROL_DT, 0.1  # s, when the ages' monitors are due


@dataclass(frozen=True)
class Fault:
    """One way to break things."""

    name: str
    start: Callable[[Rig], None]
    ends: frozenset[Mode]
    due: float = 0.0  # s after the start, when the process must have seen it
    monitor: str = ""  # that must have fired
    latched: bool = False  # left only by a reset
    lasts: float = 1.0  # s
    clears: float = 0.3  # s after its end until its traces are gone


def altered(change: Alter) -> Callable[[Rig], None]:
    """Send other targets than the policy's."""

    def start(rig: Rig) -> None:
        rig.knobs.alter = lambda targets: [rig.encoded(change(targets.copy(), rig.random))]

    return start


def sensed(change: Sense) -> Callable[[Rig], None]:
    """Measure other states than the robot's."""
    return lambda rig: setattr(rig.knobs, "sense", change)


def turned(**knobs: object) -> Callable[[Rig], None]:
    """Turn knobs."""

    def start(rig: Rig) -> None:
        for name, value in knobs.items():
            setattr(rig.knobs, name, value)

    return start


def _with(**rows: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Alter:
    """Change rows of targets."""

    def change(targets: JointTargets, random: np.random.Generator) -> JointTargets:
        new = {name: row(getattr(targets, name), random) for name, row in rows.items()}
        return dataclasses.replace(targets, **new)

    return change


def _one(value: float) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    """Put a number into one random place of a row."""

    def change(row: np.ndarray, random: np.random.Generator) -> np.ndarray:
        row[random.integers(row.size)] = value
        return row

    return change


def _times(factor: float) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    return lambda row, random: row * factor


def _random_pose(row: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return np.where(random.random(row.size) < 0.5, h1.JOINT_LOWER, h1.JOINT_UPPER)


def _whole_torque(row: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """All that a drive has, to a random side: what the gains add is too much on half of them."""
    return h1.TORQUE_LIMIT * random.choice([-1.0, 1.0], row.size)


def _state(**changes: object) -> Sense:
    """Change what a state says; callables get what it said."""

    def change(state: RobotState) -> RobotState:
        new = {
            name: value(getattr(state, name)) if callable(value) else value
            for name, value in changes.items()
        }
        return dataclasses.replace(state, **new)

    return change


def _put(place: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(row: np.ndarray) -> np.ndarray:
        row = row.copy()
        row[place] = value
        return row

    return change


_LEANING = np.array([math.cos(0.6), math.sin(0.6), 0.0, 0.0])  # 1.2 rad to the side
_KNEE = h1.JOINT_NAMES.index("left_knee")

POLICY_FAULTS = (
    Fault("nothing", turned(), SAME),
    Fault("policy killed", turned(policy_every=0), DAMP, TARGETS, "target_damp"),
    Fault("policy stopped 0.1 s", turned(policy_every=0), EITHER, lasts=0.1),
    Fault("policy stopped 0.5 s", turned(policy_every=0), DAMP, TARGETS, "target_damp", lasts=0.5),
    Fault("policy slowed to 10 Hz", turned(policy_every=5), EITHER, monitor="target_hold"),
    Fault("policy slowed to 3 Hz", turned(policy_every=16), DAMP, math.nan, "target_damp"),
    Fault("NaN target", altered(_with(position=_one(math.nan))), DAMP, TARGETS, "finite"),
    Fault("infinite target", altered(_with(position=_one(math.inf))), DAMP, TARGETS, "finite"),
    Fault("target of 1e200 rad", altered(_with(position=_one(1e200))), DAMP, TARGETS, "finite"),
    Fault("target of 1000 rad", altered(_with(position=_one(1e3))), EITHER, monitor="position"),
    Fault("targets times 100", altered(_with(position=_times(100.0))), EITHER, monitor="position"),
    Fault("targets reversed", altered(_with(position=lambda row, _: row[::-1])), EITHER),
    Fault(
        "targets permuted",
        altered(_with(position=lambda row, random: random.permutation(row))),
        EITHER,
        monitor="rate",
    ),
    Fault("bang-bang targets", altered(_with(position=_random_pose)), EITHER, monitor="rate"),
    Fault("stiffness times 100", altered(_with(stiffness=_times(100.0))), DAMP, TARGETS, "gains"),
    Fault("stiffness negative", altered(_with(stiffness=_times(-1.0))), DAMP, TARGETS, "gains"),
    Fault("damping negative", altered(_with(damping=_times(-1.0))), DAMP, TARGETS, "gains"),
    Fault("damping NaN", altered(_with(damping=_one(math.nan))), DAMP, TARGETS, "finite"),
    Fault("stiffness zero", altered(_with(stiffness=_times(0.0))), EITHER),
    Fault("1000 N m ahead", altered(_with(torque=_one(1e3))), DAMP, TARGETS, "gains"),
    Fault("whole torque ahead", altered(_with(torque=_whole_torque)), EITHER, 0.0, "torque"),
    Fault("1000 rad/s wanted", altered(_with(velocity=_one(1e3))), DAMP, TARGETS, "gains"),
    Fault("sender's clock jumps", attacks.clock_jumps, SAME),
)

ROBOT_FAULTS = (
    Fault("states lost", turned(frozen=True), DAMP, STATE, "state_age"),
    Fault("states of no time", sensed(_state(stamp=math.nan)), DAMP, 0.0, "state_age"),
    Fault("states 30 ms late", turned(delay=0.03), EITHER),
    Fault("states 150 ms late", turned(delay=0.15), DAMP, STATE, "state_age"),
    Fault("states repeat themselves", turned(repeating=True), DAMP, STATE, "state_frozen"),
    Fault("states CRC-broken", turned(broken=True), DAMP, 0.03, "state_crc"),
    Fault(
        "state NaN",
        sensed(_state(joint_velocity=_put(3, math.nan))),
        STOP,
        0.0,
        "state_finite",
        latched=True,
    ),
    Fault(
        "joint at 50 rad/s", sensed(_state(joint_velocity=_put(_KNEE, 50.0))), DAMP, 0.0, "velocity"
    ),
    Fault(
        "joint at 20 rad/s",
        sensed(_state(joint_velocity=_put(_KNEE, 20.0))),
        DAMP,
        0.01,
        "velocity",
    ),
    Fault("IMU leans 1.2 rad", sensed(_state(orientation=_LEANING)), DAMP, 0.0, "tilt"),
    Fault("IMU all zero", sensed(_state(orientation=np.zeros(4))), DAMP, 0.0, "tilt"),
    Fault("pushed 100 N", attacks.push(100.0), EITHER),
    Fault("pushed 1500 N", attacks.push(1500.0), DAMP, math.nan, "tilt", lasts=2.0),
    Fault("knee without torque", turned(dead=(_KNEE,)), DAMP, math.nan, lasts=3.0),
    Fault("all drives without torque", turned(dead=tuple(range(19))), DAMP, math.nan, lasts=3.0),
    Fault("knee loses frames", turned(lost=2), DAMP, 0.05, "motor", clears=1.3),
    Fault("knee at 100 degC", turned(temperature=100.0), DAMP, 0.02, "temperature"),
    Fault("battery at 3 %", turned(battery=3.0), SAME, monitor="battery"),
    Fault("half of the commands lost", turned(lost_writes=0.5), EITHER),
    Fault("stop on the remote", turned(alarm="remote: select"), STOP, latched=True),
)

PROCESS_FAULTS = (
    Fault("each tick late", turned(late=2), DAMP, 0.1 + 0.05, "deadline"),
    Fault("process stalls 50 ms", attacks.stall(25), EITHER),
    Fault("process stalls 0.4 s", attacks.stall(200), DAMP, 0.4, "deadline"),
    Fault("process asked to end", attacks.end, DAMP, lasts=0.5),
)

WIRE_FAULTS = (
    Fault("truncated frames", attacks.truncated, DAMP, TARGETS),
    Fault("another wire version", attacks.another_version, DAMP, TARGETS),
    Fault("rubbish besides", attacks.rubbish, SAME),
    Fault("every frame five times", attacks.duplicated, SAME),
    Fault("a second commander", attacks.second_commander, SAME),
    Fault(
        "a second one waits for silence",
        attacks.successor,
        DAMP,
        TARGETS,
        "target_damp",
        lasts=2.5,
        clears=1.3,  # its own lease
    ),
    Fault("a stranger asks for modes", attacks.stranger_asks, SAME),
    Fault("a stranger's ESTOP", attacks.stranger_stops, STOP, latched=True),
    Fault("commander releases", attacks.released, DAMP),
    Fault("limits loosened while running", attacks.loosens, SAME),
    Fault("limits tightened while running", attacks.tightens, EITHER),
)

FAULTS = (*POLICY_FAULTS, *ROBOT_FAULTS, *PROCESS_FAULTS, *WIRE_FAULTS)
