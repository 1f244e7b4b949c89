"""What a privileged policy looks at: HumanoidBench's observation, freed of the robot's place.

`body` is height 1, gravity in the pelvis frame 3, sine and cosine of the yaw 2, linear velocity in
the yaw frame 3, angular velocity 3, joint angles 19 and velocities 19 (times 0.1): 50 numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training import mirror
from training.mirror import JOINT_INDEX, JOINT_SIGN
from training.tasks import ROBOT_SIZE, observation_size

SIZE = 50
_HEAD_SIGN = np.array([1, 1, -1, 1, -1, 1, 1, -1, 1, -1, 1, -1], np.float32)
MIRROR_INDEX = np.concatenate([np.arange(12), 12 + JOINT_INDEX, 31 + JOINT_INDEX])
MIRROR_SIGN = np.concatenate([_HEAD_SIGN, JOINT_SIGN, JOINT_SIGN])


def features(observation: np.ndarray) -> np.ndarray:
    """Return features [N, 50] float32 of observations [N, >= 51] (the robot's 51 come first)."""
    w, x, y, z = observation[:, 3:7].T
    gravity = np.stack([2 * (w * y - x * z), -2 * (w * x + y * z), 2 * (x * x + y * y) - 1], axis=1)
    yaw = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    sine, cosine = np.sin(yaw), np.cos(yaw)
    vx, vy = observation[:, 26], observation[:, 27]
    head = np.stack(
        [sine, cosine, cosine * vx + sine * vy, cosine * vy - sine * vx, observation[:, 28]], axis=1
    )
    parts = [observation[:, 2:3], gravity, head, observation[:, 29:32]]
    parts += [observation[:, 7:26], 0.1 * observation[:, 32:51]]
    return np.concatenate(parts, axis=1).astype(np.float32)


VIEWS = ("benchmark", "body")


def see(view: str, observation: np.ndarray) -> np.ndarray:
    """Return observations [N, O] as the view `benchmark` (unchanged) or `body` has them."""
    return observation if view == "benchmark" else features(observation)


def view_size(view: str, tasks: Sequence[str]) -> int:
    """Return how many numbers a view of these tasks has.

    Raises:
        ValueError: the view hides what a task needs to see.
    """
    size = observation_size(tasks)
    if view == "benchmark":
        return size
    if size > ROBOT_SIZE:
        raise ValueError(f"the view {view!r} hides the things of the tasks {list(tasks)}")
    return SIZE


def mirror_of(view: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (index, sign): x[..., index] * sign is a view's observation in the mirror."""
    if view == "benchmark":
        return mirror.OBSERVATION_INDEX, mirror.OBSERVATION_SIGN
    return MIRROR_INDEX, MIRROR_SIGN
