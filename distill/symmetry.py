"""The left-right mirror of what a student sees and does: a labelled state is worth two.

Built from the layout in the PolicySpec; the joints' own mirror is `training.mirror`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from runtime import h1
from runtime.spec import PolicySpec
from training.mirror import JOINT_INDEX, JOINT_SIGN, mirror_joints
from training.tasks import task as known_task

_AXES = {  # signs of the blocks whose numbers keep their places; y is left
    "gravity": (1, -1, 1),
    "angular_velocity": (-1, 1, -1),  # an axial vector
    "heading": (-1, 1),  # sine, cosine
    "base_height": (1,),
    "base_linear_velocity": (1, -1, 1),
}
_JOINTS = ("joint_position", "joint_velocity", "previous_action")


@dataclass(frozen=True)
class Mirror:
    """x[..., index] * sign is the mirror image of an observation; likewise of an action."""

    index: Tensor  # [N]
    sign: Tensor  # [N]
    action_index: Tensor  # [19]
    action_sign: Tensor  # [19]
    tasks: Tensor  # [T] bool: the task's world is itself symmetric

    @classmethod
    def of(cls, spec: PolicySpec) -> Mirror | None:
        """Return the mirror of a student's layout; None where no task or map is symmetric."""
        level = [known_task(name).scene == "floor" for name in spec.tasks]
        if not any(level) or not symmetric(spec):
            return None
        index, sign, start = [], [], 0
        for block in spec.observation:
            for _ in range(block.history):
                if block.name in _JOINTS:
                    index.append(start + JOINT_INDEX)
                    sign.append(JOINT_SIGN)
                else:
                    index.append(start + np.arange(block.size))
                    sign.append(np.array(_AXES.get(block.name, (1,) * block.size), np.float32))
                start += block.size
        return cls(
            torch.from_numpy(np.concatenate(index)),
            torch.from_numpy(np.concatenate(sign).astype(np.float32)),
            torch.from_numpy(JOINT_INDEX),
            torch.from_numpy(JOINT_SIGN),
            torch.tensor(level),
        )

    def observation(self, x: Tensor) -> Tensor:
        """Mirror observations [..., N]."""
        return x[..., self.index] * self.sign

    def action(self, x: Tensor) -> Tensor:
        """Mirror actions [..., 19]."""
        return x[..., self.action_index] * self.action_sign

    def spread(self, x: Tensor) -> Tensor:
        """Mirror standard deviations of actions [..., 19]."""
        return x[..., self.action_index]


def symmetric(spec: PolicySpec) -> bool:
    """Tell whether the action map and the pose are their own mirror images."""
    scale = np.asarray(spec.action_scale)
    offset, pose = np.asarray(spec.action_offset), np.asarray(spec.default_pose)
    limits = (h1.JOINT_LOWER + h1.JOINT_UPPER) / 2  # clipping has to be symmetric as well
    return (
        np.allclose(scale[JOINT_INDEX], scale)
        and all(np.allclose(mirror_joints(x), x, atol=1e-6) for x in (offset, pose))
        and np.allclose(mirror_joints(limits), limits, atol=1e-6)
    )
