"""The real humanoid_bench package behind H1Env's interface, any of its robots and tasks.

The package is not a dependency: it wants MuJoCo 3.1.6 and lives in a virtual environment of its own
(docs/real_humanoidbench.md). Rows may differ in robot and task: observations are padded with zeros,
actions cut to what a row's robot has (`action_mask`).

Not offered: delays of the control and other randomisation; the package has none.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime import h1
from training.rows import Float32, Step, as_actions, row_generators

Result = tuple[np.ndarray, float, bool, dict[str, Any]]


class MissingPackageError(ImportError):
    """humanoid_bench cannot be imported here."""


def load_package() -> Any:
    """Import humanoid_bench, which registers its environments, and return gymnasium.

    It imports jax for a weight converter that no environment uses; without jax an empty module
    stands in.

    Raises:
        MissingPackageError: the package or what it needs is not installed.
    """
    stand_in: dict[str, types.ModuleType] = {}
    if "jax" not in sys.modules and importlib.util.find_spec("jax") is None:
        stand_in = {name: types.ModuleType(name) for name in ("jax", "jax.numpy")}
        vars(stand_in["jax"])["numpy"] = stand_in["jax.numpy"]
    sys.modules.update(stand_in)
    try:
        importlib.import_module("humanoid_bench")
        return importlib.import_module("gymnasium")
    except (ImportError, AttributeError) as error:
        raise MissingPackageError(
            f"suite=real needs the humanoid_bench package, which does not import here ({error}); "
            "docs/real_humanoidbench.md says how to install it"
        ) from error
    finally:  # others must not take it for the real one
        for name in stand_in:
            del sys.modules[name]


def check_names(tasks: Sequence[str]) -> tuple[str, ...]:
    """Return the package's names of tasks: h1-walk of "walk", h1hand-walk of itself.

    Raises:
        MissingPackageError: see `load_package`.
        KeyError: there is none of that name.
    """
    registry = load_package().envs.registry
    names = tuple(name if "-" in name else f"h1-{name}" for name in tasks)
    unknown = [name for name in names if f"{name}-v0" not in registry]
    if unknown or not tasks:
        there = sorted(name[3:-3] for name in registry if name[:3] == "h1-")
        raise KeyError(f"no environment {unknown}; an H1's tasks are {', '.join(there)}")
    return names


class RealEnv:
    """E environments of the real package; see `H1Env` for what the methods promise."""

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        seed: int | Sequence[int],
        action_map: str = "benchmark",
        threads: int = 1,
        terminate: bool = True,
        max_steps: int | Sequence[int] = 1000,
        delay_substeps: tuple[int, int] = (0, 0),
    ) -> None:
        """Build one row per entry of `tasks`: "walk" is an H1, "h1hand-walk" names its robot."""
        if tuple(delay_substeps) != (0, 0):
            raise ValueError(f"the real package has no delays, got {delay_substeps}")
        self.task_names, gymnasium = check_names(tasks), load_package()
        self.envs = [
            gymnasium.make(f"{name}-v0", render_mode=None).unwrapped for name in self.task_names
        ]
        self.num_envs, self.terminate = len(self.envs), terminate
        self.max_steps = np.broadcast_to(np.asarray(max_steps, dtype=np.int64), (self.num_envs,))
        self._sizes = [env.observation_space.shape[0] for env in self.envs]
        self._actuators = [env.action_space.shape[0] for env in self.envs]
        self.obs_dim, self.action_dim = max(self._sizes), max(self._actuators)
        self.action_mask = np.arange(self.action_dim) < np.array(self._actuators)[:, None]  # [E, A]
        self._convert = _to_benchmark(action_map, self.task_names)
        for env, generator in zip(self.envs, row_generators(seed, self.num_envs), strict=True):
            env.np_random = generator
        self._seeds: list[int | None] = [*_seeds(seed, self.num_envs)]
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self._obs = np.zeros((self.num_envs, self.obs_dim), dtype=np.float32)
        self._steps = np.zeros(self.num_envs, dtype=np.int64)
        self.reset()

    def reset(self, rows: np.ndarray | None = None) -> Float32:
        """Begin a new episode in the given rows (mask or indices) and return all rows' obs [E, O].

        Rows begin as H1Env's do for the same seed. Goals and places the package takes from numpy's
        global generator, which a row's first reset seeds.
        """
        indices = np.arange(self.num_envs) if rows is None else np.asarray(rows)
        if indices.dtype == bool:
            indices = np.flatnonzero(indices)
        for row in indices.tolist():
            seed, self._seeds[row] = self._seeds[row], None
            if seed is not None:
                np.random.seed(seed)
            self._obs[row, : self._sizes[row]] = self.envs[row].reset()[0]
        self._steps[indices] = 0
        return self._obs.copy()

    def step(self, action: np.ndarray) -> Step:
        """Apply action [E, A]; what a row's robot does not have is ignored."""
        action = as_actions(action, (self.num_envs, self.action_dim))
        if not np.isfinite(action).all():
            raise ValueError(
                f"action is not finite in rows {np.flatnonzero(~np.isfinite(action).all(axis=1))}"
            )
        action = self._convert(action)
        walk = self._pool.map if self._pool else map
        results = list(walk(self._step_row, range(self.num_envs), action))
        self._steps += 1
        reward = np.array([result[1] for result in results], dtype=np.float32)
        ended = np.array([result[2] for result in results], dtype=bool) & self.terminate
        for row, result in enumerate(results):
            self._obs[row, : self._sizes[row]] = result[0]
        failed = ~(np.isfinite(self._obs).all(axis=1) & np.isfinite(reward))
        if failed.any():
            reward[failed], ended[failed], self._obs[failed] = 0.0, True, 0.0
        return Step(
            self._obs.copy(),
            reward,
            ended,
            self._steps >= self.max_steps,
            self._terms([result[3] for result in results]),
            failed if failed.any() else None,
        )

    def _step_row(self, row: int, action: Float32) -> Result:
        obs, reward, ended, _, info = self.envs[row].step(action[: self._actuators[row]])
        return obs, float(reward), bool(ended), info

    def _terms(self, infos: list[dict[str, Any]]) -> dict[str, Float32]:
        """Return the numbers in the rows' infos by name, NaN where a row has none."""
        terms: dict[str, Float32] = {}
        for row, info in enumerate(infos):
            for name, value in info.items():
                if np.ndim(value) == 0 and name != "per_timestep_reward":
                    empty = np.full(self.num_envs, np.nan, dtype=np.float32)
                    terms.setdefault(name, empty)[row] = value
        return terms

    def close(self) -> None:
        """Stop the threads, close the environments."""
        if self._pool:
            self._pool.shutdown()
        for env in self.envs:
            env.close()


def _seeds(seed: int | Sequence[int], rows: int) -> list[int]:
    """Return a seed that numpy's old generator takes for every row."""
    if isinstance(seed, (int, np.integer)):
        sequences = [np.random.SeedSequence([int(seed), row]) for row in range(rows)]
        return [int(sequence.generate_state(1)[0]) for sequence in sequences]
    return [int(entry) for entry in seed]


def _to_benchmark(name: str, tasks: Sequence[str]) -> Callable[[Float32], NDArray]:
    """Return the map from actions of an action map to the package's own, [E, A] both."""
    if name == "benchmark":
        return lambda action: action
    others = sorted({task for task in tasks if not task.startswith("h1-")})
    if others:
        raise ValueError(f"action_map={name!r} is an H1's, not that of {', '.join(others)}")
    given, own = h1.action_map(name), h1.action_map("benchmark")
    return lambda action: own.action(given.target(action)).astype(np.float32)
