"""The H1's left-right symmetry: what a mirror does to observations, joints and actions.

On level floor, with tasks that look along world x only, the mirrored robot doing the mirrored thing
earns the same reward: one transition is worth two.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtime import h1

_TURNED = ("hip_yaw", "hip_roll", "torso", "shoulder_roll", "shoulder_yaw")  # axes in the plane


def _partner(joint: str) -> int:
    side, _, kind = joint.partition("_")
    other = {"left": "right", "right": "left"}.get(side)
    return h1.JOINT_NAMES.index(f"{other}_{kind}" if other else joint)


JOINT_INDEX: NDArray[np.int64] = np.array([_partner(name) for name in h1.JOINT_NAMES])
JOINT_SIGN: NDArray[np.float32] = np.array(
    [-1.0 if name.endswith(_TURNED) else 1.0 for name in h1.JOINT_NAMES], np.float32
)
# pelvis x y z, quaternion w x y z; then linear velocity (world), angular velocity (pelvis)
_POSE_SIGN = np.array([1, -1, 1, 1, -1, 1, -1], np.float32)
_TWIST_SIGN = np.array([1, -1, 1, -1, 1, -1], np.float32)

# HumanoidBench's observation of the robot alone: qpos 26, qvel 25
OBSERVATION_INDEX = np.concatenate(
    [np.arange(7), 7 + JOINT_INDEX, 26 + np.arange(6), 32 + JOINT_INDEX]
)
OBSERVATION_SIGN = np.concatenate([_POSE_SIGN, JOINT_SIGN, _TWIST_SIGN, JOINT_SIGN])


def mirror_joints(values: np.ndarray) -> np.ndarray:
    """Mirror joint angles, velocities, targets or actions [..., 19].

    Actions need an action map whose offset is itself symmetric and whose scale is alike on both
    sides (`home` and `stance` are; so is `benchmark`).
    """
    return values[..., JOINT_INDEX] * JOINT_SIGN


def mirror_observation(observation: np.ndarray) -> np.ndarray:
    """Mirror HumanoidBench observations [..., 51] in the plane y = 0."""
    return observation[..., OBSERVATION_INDEX] * OBSERVATION_SIGN
