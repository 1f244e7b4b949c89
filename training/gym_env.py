"""One H1 as a Gymnasium environment: the single view of `H1Env`, for other people's tools."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from training.h1_env import H1Env


class H1Gym(gymnasium.Env[np.ndarray, np.ndarray]):
    """One row of `H1Env`.

    `reset(seed=s)` starts the same episode as HumanoidBench's does after `numpy.random.seed(s)`.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": [], "render_fps": 50}

    def __init__(self, task: str = "stand", **options: Any) -> None:
        """Take a task's name and any of `H1Env`'s options but `tasks` and `seed`."""
        self.env = H1Env([task], seed=0, **options)
        self.observation_space = Box(-np.inf, np.inf, (self.env.obs_dim,), np.float32)
        self.action_space = Box(-1.0, 1.0, (self.env.action_dim,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode; with a seed, from a new random stream. Return obs [O] and {}."""
        super().reset(seed=seed)
        self.env.generators[0] = self.np_random
        if seed is not None:  # upstream draws these from numpy's global generator
            self.env.placers[0] = np.random.RandomState(seed % 2**32)
        elif not isinstance(self.env.placers[0], np.random.RandomState):
            self.env.placers[0] = self.np_random
        return self.env.reset()[0], {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Apply action [19]; return obs, reward, terminated, truncated, the reward's terms."""
        step = self.env.step(action[None])
        terms = {name: float(values[0]) for name, values in step.terms.items()}
        return (
            step.obs[0],
            float(step.reward[0]),
            bool(step.terminated[0]),
            bool(step.truncated[0]),
            terms,
        )

    def close(self) -> None:
        """Stop the threads."""
        self.env.close()
