"""HumanoidBench's reward for stand, walk and run, from figures a simulator has: one robot, numpy.

The training package owns the rewards of all tasks; a robot's machine carries no training package,
so these three live here too, and a test holds them equal. Source: HumanoidBench 0.2, tasks.py.
"""

from __future__ import annotations

import math

import numpy as np

STAND_HEIGHT = 1.65  # m, head
_GAUSSIAN = math.sqrt(-2.0 * math.log(0.1))
SPEED = {"stand": 0.0, "walk": 1.0, "run": 5.0}  # m/s


def reward(
    task: str, head_height: float, upright: float, velocity: np.ndarray, force: np.ndarray
) -> float:
    """Return the reward of one control step, or NaN for a task this module does not know.

    head_height m; upright: cosine of the torso's tilt; velocity [3] m/s of the whole body's centre
    of mass in world axes; force [19] N m of the actuators after clipping.
    """
    if task not in SPEED:
        return math.nan
    small_control = (4.0 + float(np.maximum(0.0, 1.0 - (force / 10.0) ** 2).mean())) / 5.0
    standing = _gaussian(max(0.0, STAND_HEIGHT - head_height) / (STAND_HEIGHT / 4.0))
    straight = min(1.0, max(0.0, 1.0 - (0.9 - upright) / 1.9)) if upright < 0.9 else 1.0
    return small_control * standing * straight * _motion(SPEED[task], velocity)


def _motion(speed: float, velocity: np.ndarray) -> float:
    if speed == 0.0:
        return 0.5 * (_gaussian(float(velocity[0]) / 2.0) + _gaussian(float(velocity[1]) / 2.0))
    share = min(1.0, max(0.0, 1.0 - (speed - float(velocity[0])) / speed))
    return (5.0 * share + 1.0) / 6.0


def _gaussian(distance: float) -> float:
    return math.exp(-0.5 * (_GAUSSIAN * distance) ** 2)
