"""From a robot's state to the student's observation vector: the only place that knows the layout.

The same code runs on one robot and on a batch of simulated ones, so that what was trained is what
runs. Knows no robot and no policy; takes the layout from the PolicySpec.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime.spec import PolicySpec, SpecError
from runtime.state import Command, RobotState

Fill = Callable[[np.ndarray, RobotState, Command, "Memory"], None]


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
    frame: np.ndarray  # [..., F] unscaled, filled anew at every tick
    parts: tuple[tuple[Fill, np.ndarray], ...]  # each block's function and its view of `frame`
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
        frame = np.zeros((*batch_shape, width))
        return cls(
            spec=spec,
            previous_action=np.zeros((*batch_shape, len(spec.joint_names))),
            frames=np.zeros((*batch_shape, depth, width), np.float32),
            fresh=np.ones(batch_shape, bool),
            frame=frame,
            parts=tuple(
                (FILL[item.name], frame[..., starts[i] : starts[i + 1]])
                for i, item in enumerate(spec.observation)
            ),
            scale=np.concatenate([np.full(item.size, item.scale) for item in spec.observation]),
            index=np.concatenate(picks),
            pose=np.asarray(spec.default_pose),
        )

    def reset(self, rows: np.ndarray | None = None) -> None:
        """Forget everything, or only the given rows (mask or indices) of a batch."""
        chosen = ... if rows is None else rows
        self.previous_action[chosen] = 0.0
        self.fresh[chosen] = True

    def imitate(self, rows: np.ndarray, others: np.ndarray) -> None:
        """Let rows of a batch (indices) remember what others of it remember."""
        self.previous_action[rows] = self.previous_action[others]
        self.frames[rows], self.fresh[rows] = self.frames[others], self.fresh[others]


def observe(
    state: RobotState,
    command: Command,
    spec: PolicySpec,
    memory: Memory,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Push the state's frame into the memory and return the observation [..., N], float32.

    Each block gives its last `history` frames, oldest first; the first frame after a reset fills
    the whole history. Call it once per control tick. `out`: where one robot's may be written.
    """
    if memory.spec is not spec and memory.spec.observation != spec.observation:
        raise SpecError("observe: this memory was made for another observation layout")
    for fill, part in memory.parts:
        fill(part, state, command, memory)
    if memory.fresh.ndim == 0:
        return _observe_one(memory, out)
    frame = (memory.frame * memory.scale).astype(np.float32)
    frames = memory.frames
    frames[..., :-1, :] = frames[..., 1:, :]
    frames[..., -1, :] = frame
    if memory.fresh.any():
        frames[memory.fresh] = frame[memory.fresh][..., None, :]
        memory.fresh[...] = False
    return frames.reshape(*memory.fresh.shape, -1)[..., memory.index]


def _observe_one(memory: Memory, out: np.ndarray | None) -> np.ndarray:
    """Push one robot's frame: the same numbers as for a batch, at a third of the cost."""
    frames = memory.frames
    frames[:-1] = frames[1:]
    frames[-1] = memory.frame * memory.scale
    if memory.fresh:
        frames[:-1] = frames[-1]
        memory.fresh[...] = False
    return frames.reshape(-1).take(memory.index, out=out, mode="clip")  # "raise" would buffer


def remember(memory: Memory, action: np.ndarray) -> None:
    """Store the action [..., 19] that was just sent: the next frame's previous action."""
    memory.previous_action[...] = action


def task_index(task: str, spec: PolicySpec) -> int:
    """Return the task's index in the policy, or say which tasks exist."""
    if task not in spec.tasks:
        raise SpecError(f"task '{task}' is not one of policy '{spec.name}': {list(spec.tasks)}")
    return spec.tasks.index(task)


def _components(orientation: np.ndarray) -> Sequence[Any]:
    """Return w, x, y, z of quaternions [..., 4]; of a single one as plain numbers, much quicker."""
    if orientation.ndim == 1:
        return orientation.tolist()
    return [orientation[..., i] for i in range(4)]


def yaw_of(orientation: np.ndarray) -> Any:
    """Return the yaw [...] of quaternions [..., 4] w x y z, rad."""
    w, x, y, z = _components(orientation)
    side, ahead = 2.0 * (w * z + x * y), w * w + x * x - y * y - z * z
    return math.atan2(side, ahead) if orientation.ndim == 1 else np.arctan2(side, ahead)


def gravity_of(orientation: np.ndarray) -> np.ndarray:
    """Return the world's down direction [..., 3] in the frame of quaternions [..., 4] w x y z."""
    down = np.empty((*orientation.shape[:-1], 3))
    _gravity_into(down, orientation)
    return down


def _gravity_into(down: np.ndarray, orientation: np.ndarray) -> None:
    w, x, y, z = _components(orientation)
    ww, xx, yy, zz = w * w, x * x, y * y, z * z
    norm = ww + xx + yy + zz
    if down.ndim == 1 and norm == 0.0:  # plain numbers raise where arrays say NaN
        norm = math.nan
    down[..., 0] = 2.0 * (w * y - x * z) / norm
    down[..., 1] = -2.0 * (y * z + w * x) / norm
    down[..., 2] = (xx + yy - ww - zz) / norm


def _gravity(out: np.ndarray, state: RobotState, command: Command, memory: Memory) -> None:
    _gravity_into(out, state.orientation)


def _angular_velocity(out: np.ndarray, state: RobotState, command: Command, memory: Memory) -> None:
    out[...] = state.angular_velocity


def _heading(out: np.ndarray, state: RobotState, command: Command, memory: Memory) -> None:
    error = yaw_of(state.orientation) - command.heading
    if out.ndim == 1:
        out[0], out[1] = math.sin(error), math.cos(error)
        return
    out[..., 0], out[..., 1] = np.sin(error), np.cos(error)


def _joint_position(out: np.ndarray, state: RobotState, command: Command, memory: Memory) -> None:
    np.subtract(state.joint_position, memory.pose, out=out)


def _joint_velocity(out: np.ndarray, state: RobotState, command: Command, memory: Memory) -> None:
    out[...] = state.joint_velocity


def _previous_action(out: np.ndarray, state: RobotState, command: Command, memory: Memory) -> None:
    out[...] = memory.previous_action


def _velocity(out: np.ndarray, state: RobotState, command: Command, memory: Memory) -> None:
    out[...] = command.velocity


def _task(out: np.ndarray, state: RobotState, command: Command, memory: Memory) -> None:
    task = command.task
    if isinstance(task, str):
        out[...] = 0.0
        out[..., task_index(task, memory.spec)] = 1.0
        return
    index = np.asarray(task)
    out[...] = index[..., None] == np.arange(len(memory.spec.tasks))


def _base_height(out: np.ndarray, state: RobotState, command: Command, memory: Memory) -> None:
    out[...] = state.base_position[..., 2:3]


def _base_linear_velocity(
    out: np.ndarray, state: RobotState, command: Command, memory: Memory
) -> None:
    """World velocity turned into the frame that shares the pelvis's yaw only."""
    yaw, velocity = yaw_of(state.orientation), state.base_linear_velocity
    cos, sin = np.cos(yaw), np.sin(yaw)
    out[..., 0] = cos * velocity[..., 0] + sin * velocity[..., 1]
    out[..., 1] = cos * velocity[..., 1] - sin * velocity[..., 0]
    out[..., 2] = velocity[..., 2]


FILL: dict[str, Fill] = {
    "gravity": _gravity,
    "angular_velocity": _angular_velocity,
    "heading": _heading,
    "joint_position": _joint_position,
    "joint_velocity": _joint_velocity,
    "previous_action": _previous_action,
    "velocity": _velocity,
    "task": _task,
    "base_height": _base_height,
    "base_linear_velocity": _base_linear_velocity,
}
