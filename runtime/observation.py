"""From a robot's state to the student's observation vector: the only place that knows the layout.

The same code runs on one robot and on a batch of simulated ones, so that what was trained is what
runs. Knows no robot and no policy; takes the layout from the PolicySpec.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from runtime.spec import PolicySpec, SpecError
from runtime.state import Command, RobotState


@dataclass(slots=True)
class Memory:
    """What `observe` remembers between ticks: the last frames and the last action.

    A frame is the scaled blocks of one tick side by side, [..., F]; `frames` holds the last H,
    oldest first; `index` picks the observation out of the H * F numbers.
    """

    spec: PolicySpec
    previous_action: np.ndarray  # [..., 19]
    frames: np.ndarray  # [..., H, F] float32
    fresh: np.ndarray  # [...] bool: no frame since the last reset
    scale: np.ndarray  # [F]
    index: np.ndarray  # [observation_size]
    pose: np.ndarray  # [19] rad

    @classmethod
    def create(cls, spec: PolicySpec, batch_shape: tuple[int, ...] = ()) -> Memory:
        """Return an empty memory for one robot, or for a batch of them."""
        sizes = [item.size for item in spec.observation]
        width, depth = sum(sizes), max(item.history for item in spec.observation)
        starts = np.cumsum([0, *sizes])
        picks = [
            (depth - item.history + age) * width + starts[i] + np.arange(item.size)
            for i, item in enumerate(spec.observation)
            for age in range(item.history)
        ]
        return cls(
            spec=spec,
            previous_action=np.zeros((*batch_shape, len(spec.joint_names))),
            frames=np.zeros((*batch_shape, depth, width), np.float32),
            fresh=np.ones(batch_shape, bool),
            scale=np.concatenate([np.full(item.size, item.scale) for item in spec.observation]),
            index=np.concatenate(picks),
            pose=np.asarray(spec.default_pose),
        )

    def reset(self, rows: np.ndarray | None = None) -> None:
        """Forget everything, or only the given rows (mask or indices) of a batch."""
        chosen = ... if rows is None else rows
        self.previous_action[chosen] = 0.0
        self.fresh[chosen] = True


def observe(state: RobotState, command: Command, spec: PolicySpec, memory: Memory) -> np.ndarray:
    """Push the state's frame into the memory and return the observation [..., N], float32.

    Each block gives its last `history` frames, oldest first; the first frame after a reset fills
    the whole history. Call it once per control tick.
    """
    if memory.spec is not spec and memory.spec.observation != spec.observation:
        raise SpecError("observe: this memory was made for another observation layout")
    batch = memory.fresh.shape
    parts = [
        np.broadcast_to(_BLOCK[item.name](state, command, memory), (*batch, item.size))
        for item in spec.observation
    ]
    frame = (np.concatenate(parts, axis=-1) * memory.scale).astype(np.float32)
    frames = memory.frames
    if memory.fresh.any():
        frames[memory.fresh] = frame[memory.fresh][..., None, :]
        memory.fresh[...] = False
        # rows that were not fresh are shifted below; a filled row may be shifted too
    frames[..., :-1, :] = frames[..., 1:, :]
    frames[..., -1, :] = frame
    return frames.reshape(*batch, -1)[..., memory.index]


def remember(memory: Memory, action: np.ndarray) -> None:
    """Store the action [..., 19] that was just sent: the next frame's previous action."""
    memory.previous_action[...] = action


def task_index(task: str, spec: PolicySpec) -> int:
    """Return the task's index in the policy, or say which tasks exist."""
    if task not in spec.tasks:
        raise SpecError(f"task '{task}' is not one of policy '{spec.name}': {list(spec.tasks)}")
    return spec.tasks.index(task)


def yaw_of(orientation: np.ndarray) -> np.ndarray:
    """Return the yaw [...] of quaternions [..., 4] w x y z, rad."""
    w, x, y, z = np.moveaxis(orientation, -1, 0)
    return np.arctan2(2.0 * (w * z + x * y), w * w + x * x - y * y - z * z)


def gravity_of(orientation: np.ndarray) -> np.ndarray:
    """Return the world's down direction [..., 3] in the frame of quaternions [..., 4] w x y z."""
    w, x, y, z = np.moveaxis(orientation, -1, 0)
    down = np.stack(
        [2.0 * (w * y - x * z), -2.0 * (y * z + w * x), x * x + y * y - w * w - z * z], axis=-1
    )
    return down / (w * w + x * x + y * y + z * z)[..., None]


def _heading(state: RobotState, command: Command, memory: Memory) -> np.ndarray:
    error = yaw_of(state.orientation) - command.heading
    return np.stack([np.sin(error), np.cos(error)], axis=-1)


def _task(state: RobotState, command: Command, memory: Memory) -> np.ndarray:
    task = command.task
    index = task_index(task, memory.spec) if isinstance(task, str) else np.asarray(task)
    return np.asarray(index)[..., None] == np.arange(len(memory.spec.tasks))


def _velocity_in_yaw_frame(state: RobotState, command: Command, memory: Memory) -> np.ndarray:
    yaw = yaw_of(state.orientation)
    cos, sin = np.cos(yaw), np.sin(yaw)
    vx, vy, vz = np.moveaxis(state.base_linear_velocity, -1, 0)
    return np.stack([cos * vx + sin * vy, cos * vy - sin * vx, vz], axis=-1)


_BLOCK: dict[str, Callable[[RobotState, Command, Memory], np.ndarray]] = {
    "gravity": lambda state, command, memory: gravity_of(state.orientation),
    "angular_velocity": lambda state, command, memory: state.angular_velocity,
    "heading": _heading,
    "joint_position": lambda state, command, memory: state.joint_position - memory.pose,
    "joint_velocity": lambda state, command, memory: state.joint_velocity,
    "previous_action": lambda state, command, memory: memory.previous_action,
    "task": _task,
    "base_height": lambda state, command, memory: state.base_position[..., 2:3],
    "base_linear_velocity": _velocity_in_yaw_frame,
}
