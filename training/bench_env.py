"""Ways to step simulated robots, as parts that `training/bench.py` times; units: robot steps."""

from __future__ import annotations

from collections.abc import Callable

import mujoco
import numpy as np

from training.gym_env import H1Gym
from training.h1_env import H1Env
from training.hb_adapter import RealEnv
from training.physics import SUBSTEPS


def batched(env: H1Env | RealEnv, actions: np.ndarray, times: int = 1) -> Callable[[], int]:
    """Return a part that plays actions [T, E, 19], `times` over, and resets who has fallen."""

    def play() -> int:
        env.reset()
        for _ in range(times):
            for action in actions:
                step = env.step(action)
                if step.terminated.any():
                    env.reset(step.terminated)
        return times * actions.shape[0] * actions.shape[1]

    return play


def one_by_one(env: H1Gym, actions: np.ndarray) -> Callable[[], int]:
    """Return a part that plays a quarter of all actions on one environment."""

    def play() -> int:
        own = actions.reshape(-1, 19)[: actions.shape[0] * actions.shape[1] // 4]
        env.reset()
        for action in own:
            if env.step(action)[2]:
                env.reset()
        return len(own)

    return play


def bare(env: H1Env, actions: np.ndarray) -> Callable[[], int]:
    """Return a part that does nothing but physics, on the models and from the starts of `env`."""

    def play() -> int:
        env.reset()
        for targets in env.control(actions):
            for row, data in enumerate(env.physics.data):
                data.ctrl[:] = targets[row]
                mujoco.mj_step(env.physics.models[row], data, SUBSTEPS)  # type: ignore[attr-defined]
            down = np.array([data.qpos[2] < 0.2 for data in env.physics.data])
            if down.any():
                env.reset(down)
        return actions.shape[0] * actions.shape[1]

    return play
