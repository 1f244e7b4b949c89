"""The tasks of HumanoidBench's H1: reward, end of an episode, success bar, scene, by name.

A further task is one reward function (`training.rewards`), one rule for its end and one entry in
`TASKS`. Source: HumanoidBench (Sferrazza et al. 2024) as it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from training import rewards
from training.rewards import Array, Bools, Ints, Readings, Terms

ROBOT_QPOS, ROBOT_SIZE = 26, 51  # numbers: qpos; qpos and qvel
THING_SIZE = 13  # qpos 7 and qvel 6 of a free body
REACH_LOW, REACH_HIGH = (-2.0, -2.0, 0.2), (2.0, 2.0, 2.0)  # m, box of the hand's goals


@dataclass(frozen=True)
class Task:
    """One task: `reward` returns ([N] reward, its terms), `terminated` returns [N] bool."""

    name: str
    success_bar: float  # return of an episode that counts as success
    reward: Callable[[Readings], tuple[Array, Terms]]
    terminated: Callable[[Readings], Bools]
    scene: str = "floor"  # key of training.scenes.SCENES
    things: int = 0  # free bodies in the scene
    place: str = ""  # what is drawn for an episode beside the noise: "goal", "pose" or nothing
    next_stage: Callable[[Readings], Ints] | None = None  # [N] stage after this step

    @property
    def observation_size(self) -> int:
        """Numbers observed: qpos and qvel of robot and things; with a goal, it and the hand."""
        return ROBOT_SIZE + THING_SIZE * self.things + (6 if self.place == "goal" else 0)

    @property
    def robot_columns(self) -> Ints:
        """Where the robot's own qpos and qvel stand in the observation, [51]."""
        velocity = ROBOT_QPOS + 7 * self.things
        return np.r_[:ROBOT_QPOS, velocity : velocity + ROBOT_SIZE - ROBOT_QPOS]


def below(height: float) -> Callable[[Readings], Bools]:
    """Return the rule that ends an episode when the pelvis is lower than `height` m."""

    def lower(readings: Readings) -> Bools:
        return readings.qpos[:, 2] < height

    return lower


def never(readings: Readings) -> Bools:
    """Return [N] False."""
    return np.zeros(len(readings.qpos), dtype=bool)


def tipped(readings: Readings) -> Bools:
    """Return [N] bool: the torso lies."""
    return readings.upright < 0.1


def off_board(readings: Readings) -> Bools:
    """Return [N] bool: too low, or floor or sphere touch what they should not."""
    return (readings.qpos[:, 2] < 0.8) | readings.touching


fallen, slumped = below(0.2), below(0.5)

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("stand", 800.0, rewards.stand, fallen),
        Task("walk", 700.0, rewards.walk, fallen),
        Task("run", 700.0, rewards.run, fallen),
        Task("reach", 12000.0, rewards.reach, never, "reach", place="goal"),
        Task("hurdle", 700.0, rewards.hurdle, fallen, "hurdle"),
        Task("crawl", 700.0, rewards.crawl, never, "crawl"),
        Task("maze", 1200.0, rewards.maze, fallen, "maze", next_stage=rewards.maze_stage),
        Task("sit_simple", 750.0, rewards.sit, slumped, "sit_simple"),
        Task("sit_hard", 750.0, rewards.sit, slumped, "sit_hard", 1, "pose"),
        Task("balance_simple", 800.0, rewards.balance, off_board, "balance_simple", 1),
        Task("balance_hard", 800.0, rewards.balance, off_board, "balance_hard", 2),
        Task("stair", 700.0, rewards.climb, tipped, "stair"),
        Task("slide", 700.0, rewards.climb, tipped, "slide"),
        Task("pole", 700.0, rewards.pole, slumped, "pole"),
    )
}

TASK_SETS: dict[str, tuple[str, ...]] = {
    "h1_small": ("stand", "walk", "run"),
    "medium": ("stand", "walk", "run", "stair", "crawl", "pole", "slide", "hurdle", "maze"),
    "h1_all": tuple(TASKS),
    **{name: (name,) for name in TASKS},
}


def task(name: str) -> Task:
    """Return the task of that name; a KeyError lists what exists."""
    if name not in TASKS:
        raise KeyError(f"no task {name!r}; there are {', '.join(TASKS)}")
    return TASKS[name]


def base(name: str) -> str:
    """Return what is to be done, whatever the robot: walk of "h1hand-walk"."""
    return name.rpartition("-")[2]


def observation_size(names: Iterable[str]) -> int:
    """Return the length of the longest observation of these tasks."""
    return max(task(name).observation_size for name in names)
