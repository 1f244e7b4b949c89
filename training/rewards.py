"""What HumanoidBench pays an H1 for: one pure function per task, over batched readings.

A reward sees `Readings` only, never the simulator, and keeps no state: what an episode must
remember (the maze's stage, the goal of reach) comes in with the readings. Rows of a batch do not
see each other. Which reward, end and scene make a task: `training.tasks`.

Source: HumanoidBench (Sferrazza et al. 2024) as it runs. What the readings hold at the end of a
control step is partly one sub-step old, see `training.physics`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Bools, Ints = NDArray[np.bool_], NDArray[np.int64]
Terms = dict[str, Array]

STANDING_HEIGHT = 1.65  # m, head
STANDING_MARGIN = STANDING_HEIGHT / 4  # m
WALKING_SPEED = 1.0  # m/s
RUNNING_SPEED = 5.0  # m/s
CLIMBING_SPEED = 1.0  # m/s
POLE_SPEED = 0.5  # m/s
BOARD_HEIGHT = 2.02  # m, head of a robot that stands on the board; the margin stays the same
CONTACT_DISCOUNT = 0.1
CRAWL_POSE = np.array([0.75, 0.0, 0.65, 0.0])  # not of unit length, and -q counts as far away

MAZE_MARKS = np.array([[0, 0], [3, 0], [3, 6], [6, 6], [6, 6]], dtype=np.float64)  # m
MAZE_VELOCITY = 2.0 * np.array([[1, 0], [1, 0], [0, 1], [1, 0], [0, 1]])  # m/s, by stage
MAZE_RADIUS = 0.4  # m
MAZE_LAST = 4  # stage


def _absent() -> Array:
    return np.zeros((0, 3))


@dataclass(frozen=True)
class Readings:
    """What a reward may look at, for N rows; the later fields matter to some tasks only."""

    qpos: Array  # [N, 26] base position m, base quaternion wxyz, joints rad
    qvel: Array  # [N, 25] base velocity m/s (world), rad/s (pelvis), joints rad/s
    com_velocity: Array  # [N, 3] m/s, whole robot, world
    head_height: Array  # [N] m
    upright: Array  # [N] cosine of the torso's tilt
    torque: Array  # [N, 19] Nm, after the actuators' clipping
    imu: Array = field(default_factory=_absent)  # [N, 3] m
    feet_height: Array = field(default_factory=_absent)  # [N, 2] m, left and right
    hand: Array = field(default_factory=_absent)  # [N, 3] m, the left one
    scene: Array = field(default_factory=_absent)  # [N, 3] what the scene reads; see SCENES
    touching: Bools = field(default_factory=lambda: np.zeros(0, bool))  # [N] a contact that counts
    goal: Array = field(default_factory=_absent)  # [N, 3] m, for the hand
    stage: Ints = field(default_factory=lambda: np.zeros(0, np.int64))  # [N] maze: marks passed


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


def still(readings: Readings) -> Array:
    """Return [N]: 1 for a robot that does not move over the floor."""
    return gaussian(readings.com_velocity[:, :2], 0.0, 0.0, 2.0).mean(axis=-1)


def moving(readings: Readings, speed: float) -> Array:
    """Return [N]: 1/6 for a robot that does not move along world x, 1 from `speed` m/s on."""
    return (5.0 * linear(readings.com_velocity[:, 0], speed, np.inf, speed) + 1.0) / 6.0


def discount(readings: Readings) -> Array:
    """Return [N]: 0.1 for a robot that touches what it should not."""
    return np.where(readings.touching, CONTACT_DISCOUNT, 1.0)


def posture(
    readings: Readings, upright_bound: float = 0.9, height: float = STANDING_HEIGHT
) -> Terms:
    """Return small_control, standing, upright and stand_reward = standing * upright, each [N]."""
    standing = gaussian(readings.head_height, height, np.inf, STANDING_MARGIN)
    upright = linear(readings.upright, upright_bound, np.inf, 1.9)
    return {
        "small_control": small_control(readings.torque),
        "stand_reward": standing * upright,
        "standing": standing,
        "upright": upright,
    }


def stand(readings: Readings, height: float = STANDING_HEIGHT) -> tuple[Array, Terms]:
    """Reward an upright, quiet robot that stays where it is."""
    terms = posture(readings, height=height)
    terms["dont_move"] = still(readings)
    return terms["small_control"] * terms["stand_reward"] * terms["dont_move"], terms


def balance(readings: Readings) -> tuple[Array, Terms]:
    """Reward standing still, on a board on a sphere."""
    return stand(readings, BOARD_HEIGHT)


def forward(readings: Readings, speed: float, upright_bound: float = 0.9) -> tuple[Array, Terms]:
    """Reward an upright, quiet robot that moves along world x with at least `speed` m/s."""
    terms = posture(readings, upright_bound)
    terms["move"] = moving(readings, speed)
    return terms["small_control"] * terms["stand_reward"] * terms["move"], terms


def walk(readings: Readings) -> tuple[Array, Terms]:
    """Reward moving forward at 1 m/s or more."""
    return forward(readings, WALKING_SPEED)


def run(readings: Readings) -> tuple[Array, Terms]:
    """Reward moving forward at 5 m/s or more."""
    return forward(readings, RUNNING_SPEED)


def hurdle(readings: Readings) -> tuple[Array, Terms]:
    """Reward running; a tenth of it at the walls. The bars may be touched."""
    reward, terms = forward(readings, RUNNING_SPEED, 0.8)
    terms["wall_collision_discount"] = discount(readings)
    return reward * terms["wall_collision_discount"], terms


def pole(readings: Readings) -> tuple[Array, Terms]:
    """Reward half for standing, half for moving at 0.5 m/s; a tenth of it at a pole."""
    terms = posture(readings)
    terms["move"] = moving(readings, POLE_SPEED)
    terms["collision_discount"] = discount(readings)
    posed = terms["small_control"] * terms["stand_reward"]
    return (0.5 * posed + 0.5 * terms["move"]) * terms["collision_discount"], terms


def climb(readings: Readings) -> tuple[Array, Terms]:
    """Reward moving forward at 1 m/s with the head high above both feet (stair, slide)."""
    above = readings.head_height[:, None] - readings.feet_height
    standing = gaussian(above, 1.2, np.inf, 0.45).prod(axis=-1)
    upright = linear(readings.upright, 0.5, np.inf, 1.9)
    terms = {
        "small_control": small_control(readings.torque),
        "stand_reward": standing * upright,
        "standing": standing,
        "upright": upright,
        "move": moving(readings, CLIMBING_SPEED),
    }
    return terms["stand_reward"] * terms["small_control"] * terms["move"], terms


def crawl(readings: Readings) -> tuple[Array, Terms]:
    """Reward moving forward at 1 m/s, low, face down, between the planes y = -1 and 1."""
    pose = np.linalg.norm(readings.qpos[:, 3:7] - CRAWL_POSE, axis=-1)
    terms = {
        "crawling": gaussian(readings.imu[:, 2], 0.6, 1.0, 1.0),
        "crawling_head": gaussian(readings.head_height, 0.6, 1.0, 1.0),
        "small_control": small_control(readings.torque),
        "move": moving(readings, WALKING_SPEED),
        "in_tunnel": (np.abs(readings.imu[:, 1]) <= 1.0).astype(np.float64),
    }
    reward = (
        0.1 * terms["small_control"]
        + 0.25 * np.minimum(terms["crawling"], terms["crawling_head"])
        + 0.4 * terms["move"]
        + 0.25 * gaussian(pose, 0.0, 0.0, 1.0)
    )
    return reward * terms["in_tunnel"], terms


def maze_stage(readings: Readings) -> Ints:
    """Return [N]: how many checkpoints a robot has passed that had passed `stage` before."""
    away = np.linalg.norm(readings.scene[:, :2] - MAZE_MARKS[readings.stage], axis=-1)
    return np.minimum(readings.stage + (away < MAZE_RADIUS), MAZE_LAST)


def maze(readings: Readings) -> tuple[Array, Terms]:
    """Reward 2 m/s towards the next checkpoint and being near it; 100 times k for the k-th."""
    stage, terms = maze_stage(readings), posture(readings)
    off = linear(readings.com_velocity[:, :2] - MAZE_VELOCITY[stage], 0.0, 0.0, 1.0).prod(axis=-1)
    away = np.linalg.norm(MAZE_MARKS[stage] - readings.imu[:, :2], axis=-1)
    terms = {
        "stand_reward": terms["stand_reward"],
        "small_control": terms["small_control"],
        "move": (5.0 * np.where(stage == MAZE_LAST, 1.0, off) + 1.0) / 6.0,
        "wall_collision_discount": discount(readings),
        "stage_convert_reward": np.where(stage > readings.stage, 100.0 * stage, 0.0),
        "checkpoint_proximity_reward": gaussian(away, 0.0, 0.0, 1.0),
        "success_subtasks": stage.astype(np.float64),
    }
    reward = (
        0.2 * terms["stand_reward"] * terms["small_control"]
        + 0.4 * terms["move"]
        + 0.4 * terms["checkpoint_proximity_reward"]
    )
    return reward * terms["wall_collision_discount"] + terms["stage_convert_reward"], terms


def sit(readings: Readings) -> tuple[Array, Terms]:
    """Reward sitting upright and still on the chair, whose position is the scene's reading."""
    away = readings.qpos[:, :2] - readings.scene[:, :2]
    on_chair = gaussian(away[:, 0], -0.19, 0.19, 0.2) * gaussian(away[:, 1], 0.0, 0.0, 0.1)
    terms = {
        "small_control": small_control(readings.torque),
        "dont_move": still(readings),
        "sitting": gaussian(readings.qpos[:, 2], 0.68, 0.72, 0.2),
        "upright": linear(readings.upright, 0.95, np.inf, 0.9),
        "sitting_posture": gaussian(readings.head_height - readings.imu[:, 2], 0.35, 0.45, 0.3),
    }
    posed = terms["upright"] * terms["sitting_posture"]
    terms["sit_reward"] = (0.5 * terms["sitting"] + 0.5 * on_chair) * posed
    return terms["small_control"] * terms["sit_reward"] * terms["dont_move"], terms


def reach(readings: Readings) -> tuple[Array, Terms]:
    """Reward the left hand at the goal; the scene reads the z axis of the pelvis."""
    away = np.sqrt(((readings.hand - readings.goal) ** 2).sum(axis=-1))
    terms = {
        "hand_dist": away,
        "healthy_reward": 5.0 * readings.scene[:, 2],
        "motion_penalty": (readings.qvel**2).sum(axis=-1),
        "reward_close": np.where(away < 1.0, 5.0, 0.0),
        "reward_success": np.where(away < 0.05, 10.0, 0.0),
    }
    bonus = terms["reward_close"] + terms["reward_success"]
    return terms["healthy_reward"] - 1e-4 * terms["motion_penalty"] + bonus, terms
