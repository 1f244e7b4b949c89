"""The tasks of HumanoidBench's H1 as pure functions: reward, termination, success bar.

A task sees `Readings` only, never the simulator, and keeps no state. Rows of a batch do not see
each other. So far stand, walk and run; a further task is one reward function, one termination rule
and one entry in `TASKS`.

Source: HumanoidBench (Sferrazza et al. 2024) as it runs. What the readings hold at the end of a
control step is partly one sub-step old, see `training.physics`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Terms = dict[str, Array]

STANDING_HEIGHT = 1.65  # m, head
STANDING_MARGIN = STANDING_HEIGHT / 4  # m
WALKING_SPEED = 1.0  # m/s
RUNNING_SPEED = 5.0  # m/s
FALLEN_HEIGHT = 0.2  # m, pelvis


@dataclass(frozen=True)
class Readings:
    """What a reward may look at, for N rows."""

    qpos: Array  # [N, 26] base position m, base quaternion wxyz, joints rad
    qvel: Array  # [N, 25] base velocity m/s (world), rad/s (pelvis), joints rad/s
    com_velocity: Array  # [N, 3] m/s, whole robot, world
    head_height: Array  # [N] m
    upright: Array  # [N] cosine of the torso's tilt
    torque: Array  # [N, 19] Nm, after the actuators' clipping


@dataclass(frozen=True)
class Task:
    """One task: `reward` returns ([N] reward, its terms), `terminated` returns [N] bool."""

    name: str
    success_bar: float  # return of an episode that counts as success
    reward: Callable[[Readings], tuple[Array, Terms]]
    terminated: Callable[[Readings], NDArray[np.bool_]]
    scene: str = "floor"  # key of training.scenes.SCENES
    observation_size: int = 51


def gaussian(x: Array, lower: float, upper: float, margin: float) -> Array:
    """Return 1 within the bounds, falling as a Gaussian to 0.1 at `margin` outside."""
    distance = np.maximum(np.maximum(lower - x, x - upper), 0.0) / margin
    return np.exp(np.log(0.1) * distance**2)


def linear(x: Array, lower: float, upper: float, margin: float) -> Array:
    """Return 1 within the bounds, falling linearly to 0 at `margin` outside."""
    distance = np.maximum(np.maximum(lower - x, x - upper), 0.0) / margin
    return np.maximum(1.0 - distance, 0.0)


def quadratic(x: Array, margin: float) -> Array:
    """Return 1 at 0, falling quadratically to 0 at +-`margin`."""
    return np.maximum(1.0 - (x / margin) ** 2, 0.0)


def small_control(torque: Array) -> Array:
    """Return 0.8 .. 1 [N]: the share of joints that push with little torque (below 10 Nm)."""
    return (4.0 + quadratic(torque, 10.0).mean(axis=-1)) / 5.0


def posture(readings: Readings, upright_bound: float = 0.9) -> Terms:
    """Return small_control, standing, upright and stand_reward = standing * upright, each [N]."""
    standing = gaussian(readings.head_height, STANDING_HEIGHT, np.inf, STANDING_MARGIN)
    upright = linear(readings.upright, upright_bound, np.inf, 1.9)
    return {
        "small_control": small_control(readings.torque),
        "stand_reward": standing * upright,
        "standing": standing,
        "upright": upright,
    }


def stand(readings: Readings) -> tuple[Array, Terms]:
    """Reward an upright, quiet robot that stays where it is."""
    terms = posture(readings)
    still = gaussian(readings.com_velocity[:, :2], 0.0, 0.0, 2.0).mean(axis=-1)
    terms["dont_move"] = still
    return terms["small_control"] * terms["stand_reward"] * still, terms


def forward(readings: Readings, speed: float) -> tuple[Array, Terms]:
    """Reward an upright, quiet robot that moves along world x with at least `speed` m/s."""
    terms = posture(readings)
    move = (5.0 * linear(readings.com_velocity[:, 0], speed, np.inf, speed) + 1.0) / 6.0
    terms["move"] = move
    return terms["small_control"] * terms["stand_reward"] * move, terms


def walk(readings: Readings) -> tuple[Array, Terms]:
    """Reward moving forward at 1 m/s or more."""
    return forward(readings, WALKING_SPEED)


def run(readings: Readings) -> tuple[Array, Terms]:
    """Reward moving forward at 5 m/s or more."""
    return forward(readings, RUNNING_SPEED)


def fallen(readings: Readings) -> NDArray[np.bool_]:
    """Return [N] bool: the pelvis is below 0.2 m."""
    return readings.qpos[:, 2] < FALLEN_HEIGHT


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("stand", 800.0, stand, fallen),
        Task("walk", 700.0, walk, fallen),
        Task("run", 700.0, run, fallen),
    )
}

TASK_SETS: dict[str, tuple[str, ...]] = {
    "h1_small": ("stand", "walk", "run"),
    **{name: (name,) for name in TASKS},
}


def task(name: str) -> Task:
    """Return the task of that name; a KeyError lists what exists."""
    if name not in TASKS:
        raise KeyError(f"no task {name!r}; there are {', '.join(TASKS)}")
    return TASKS[name]
