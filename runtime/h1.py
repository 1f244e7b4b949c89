"""The Unitree H1 (no hands) as figures: joints, limits, gains, action maps, motor slots.

The order of joints is HumanoidBench's, and everybody's in this repository. The rigid bodies are in
`h1.xml`. This module knows numpy only: no simulator, no wire, no policy.

Sources: ranges, gains and torque limits are HumanoidBench's `h1_pos` model; velocity limits and
motor slots are Unitree's H1 description and SDK.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CONTROL_DT = 0.02  # s, one action
PHYSICS_DT = 0.002  # s, one physics sub-step
XML_PATH = Path(__file__).with_name("h1.xml")


def _frozen(values: Sequence[float] | Array) -> Array:
    """Return the values as a read-only float64 array."""
    array = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array


_LEG = ("hip_yaw", "hip_roll", "hip_pitch", "knee", "ankle")
_ARM = ("shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow")

JOINT_NAMES: tuple[str, ...] = (
    *(f"left_{joint}" for joint in _LEG),
    *(f"right_{joint}" for joint in _LEG),
    "torso",
    *(f"left_{joint}" for joint in _ARM),
    *(f"right_{joint}" for joint in _ARM),
)
NUM_JOINTS = len(JOINT_NAMES)  # 19

# Per kind of joint: stiffness Nm/rad, damping Nms/rad, torque limit Nm, velocity limit rad/s,
# default angle rad.
_KINDS: dict[str, tuple[float, float, float, float, float]] = {
    "hip_yaw": (200, 5, 200, 23, 0.0),
    "hip_roll": (200, 5, 200, 23, 0.0),
    "hip_pitch": (200, 5, 200, 23, -0.4),
    "knee": (300, 6, 300, 14, 0.8),
    "ankle": (40, 2, 40, 9, -0.4),
    "torso": (300, 6, 200, 23, 0.0),
    "shoulder_pitch": (100, 2, 40, 9, 0.0),
    "shoulder_roll": (100, 2, 40, 9, 0.0),
    "shoulder_yaw": (100, 2, 18, 20, 0.0),
    "elbow": (100, 2, 18, 20, 0.0),
}
# rad; the right arm mirrors the left one in roll and yaw, the legs have equal ranges
_LEFT_RANGE: dict[str, tuple[float, float]] = {
    "hip_yaw": (-0.43, 0.43),
    "hip_roll": (-0.43, 0.43),
    "hip_pitch": (-3.14, 2.53),
    "knee": (-0.26, 2.05),
    "ankle": (-0.87, 0.52),
    "torso": (-2.35, 2.35),
    "shoulder_pitch": (-2.87, 2.87),
    "shoulder_roll": (-0.34, 3.11),
    "shoulder_yaw": (-1.3, 4.45),
    "elbow": (-1.25, 2.61),
}


def _kind(joint: str) -> str:
    return joint.removeprefix("left_").removeprefix("right_")


def _range(joint: str) -> tuple[float, float]:
    """Return (lower, upper) in rad."""
    lower, upper = _LEFT_RANGE[_kind(joint)]
    if joint in ("right_shoulder_roll", "right_shoulder_yaw"):
        return -upper, -lower
    return lower, upper


JOINT_LOWER: Array = _frozen([_range(joint)[0] for joint in JOINT_NAMES])  # rad
JOINT_UPPER: Array = _frozen([_range(joint)[1] for joint in JOINT_NAMES])  # rad
STIFFNESS: Array = _frozen([_KINDS[_kind(joint)][0] for joint in JOINT_NAMES])  # Nm/rad
DAMPING: Array = _frozen([_KINDS[_kind(joint)][1] for joint in JOINT_NAMES])  # Nms/rad
TORQUE_LIMIT: Array = _frozen([_KINDS[_kind(joint)][2] for joint in JOINT_NAMES])  # Nm
VELOCITY_LIMIT: Array = _frozen([_KINDS[_kind(joint)][3] for joint in JOINT_NAMES])  # rad/s
DEFAULT_POSE: Array = _frozen([_KINDS[_kind(joint)][4] for joint in JOINT_NAMES])  # rad

# Unitree LowCmd/LowState slot of each joint; slot 9 is not used on an H1.
MOTOR_INDEX: dict[str, int] = {
    "right_hip_roll": 0,
    "right_hip_pitch": 1,
    "right_knee": 2,
    "left_hip_roll": 3,
    "left_hip_pitch": 4,
    "left_knee": 5,
    "torso": 6,
    "left_hip_yaw": 7,
    "right_hip_yaw": 8,
    "left_ankle": 10,
    "right_ankle": 11,
    "right_shoulder_pitch": 12,
    "right_shoulder_roll": 13,
    "right_shoulder_yaw": 14,
    "right_elbow": 15,
    "left_shoulder_pitch": 16,
    "left_shoulder_roll": 17,
    "left_shoulder_yaw": 18,
    "left_elbow": 19,
}


@dataclass(frozen=True)
class ActionMap:
    """An affine map from actions in [-1, 1] to joint targets; `offset`, `scale` are [19] rad."""

    name: str
    offset: Array
    scale: Array

    def target(self, action: np.ndarray) -> Array:
        """Return the joint targets [..., 19] in rad, clipped to the joint range."""
        return np.clip(self.offset + self.scale * action, JOINT_LOWER, JOINT_UPPER)

    def action(self, target: np.ndarray) -> Array:
        """Return the action [..., 19] whose unclipped target is the given one, rad."""
        return (np.asarray(target, dtype=np.float64) - self.offset) / self.scale


HOME_SCALE = 0.4  # of half the joint range, around the default pose

# The stance map: a constant zero action stands 1.3 times longer than the home pose does, and one
# unit of action disturbs every joint about alike (the home map gives the hip pitch 1.13 rad, the
# knee 0.46).
_STANCE_POSE = {"hip_pitch": -0.42, "knee": 0.45, "ankle": -0.28}  # rad, the other joints 0
_STANCE_SCALE = {"hip_yaw": 0.2, "hip_roll": 0.2, "hip_pitch": 0.5, "knee": 0.6, "ankle": 0.35}
_STANCE_SCALE |= {"torso": 0.3, "shoulder_pitch": 0.4, "shoulder_roll": 0.4, "shoulder_yaw": 0.4}
_STANCE_SCALE |= {"elbow": 0.4}  # rad


def _by_kind(values: dict[str, float], default: float) -> Array:
    """Spread values given per kind of joint over both sides, [19]."""
    kinds = (name.removeprefix("left_").removeprefix("right_") for name in JOINT_NAMES)
    return _frozen(np.array([values.get(kind, default) for kind in kinds]))


ACTION_MAPS: dict[str, ActionMap] = {
    "benchmark": ActionMap(
        "benchmark",
        _frozen((JOINT_LOWER + JOINT_UPPER) / 2),
        _frozen((JOINT_UPPER - JOINT_LOWER) / 2),
    ),
    "home": ActionMap("home", DEFAULT_POSE, _frozen(HOME_SCALE * (JOINT_UPPER - JOINT_LOWER) / 2)),
    "stance": ActionMap("stance", _by_kind(_STANCE_POSE, 0.0), _by_kind(_STANCE_SCALE, 0.0)),
}


def action_map(name: str) -> ActionMap:
    """Return the action map of that name; a KeyError lists what exists."""
    if name not in ACTION_MAPS:
        raise KeyError(f"no action map {name!r}; there are {', '.join(ACTION_MAPS)}")
    return ACTION_MAPS[name]
