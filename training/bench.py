"""How fast the parts of training are, measured side by side: `python training/bench.py what=env`.

Every row of the table is measured in turn, `rounds` times over, so that a busy machine slows all of
them alike; the figure is the median. The last line is the table as JSON.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import mujoco
import numpy as np

from training.config import ConfigError, choose, describe
from training.gym_env import H1Gym
from training.h1_env import H1Env
from training.physics import SUBSTEPS
from training.tasks import TASK_SETS


@dataclass(frozen=True)
class BenchConfig:
    """What to measure, and how long."""

    what: str = "env"
    task_set: str = "h1_small"
    envs: int = 24  # rows of the batched environment
    threads: int = 1
    steps: int = 60  # batched steps per round
    rounds: int = 5
    seed: int = 0


def _policy(config: BenchConfig) -> np.ndarray:
    """Return near-home actions [steps, E, 19] of the home map: the robots stand, sway, fall."""
    shape = (config.steps, config.envs, 19)
    noise = np.random.default_rng(config.seed).normal(0.0, 0.2, shape)
    return noise.clip(-1, 1).astype(np.float32)


def bench_env(config: BenchConfig) -> dict[str, float]:
    """Return environment steps per second: batched, one Gymnasium environment, and bare mj_step."""
    names = TASK_SETS[config.task_set]
    tasks = [names[row % len(names)] for row in range(config.envs)]
    options = {"action_map": "home", "threads": config.threads}
    batch = H1Env(tasks, seed=config.seed, **options)
    bare = H1Env(tasks, seed=config.seed, **options)
    single = H1Gym(tasks[0], action_map="home")
    actions = _policy(config)

    def batched() -> int:
        batch.reset()
        for action in actions:
            step = batch.step(action)
            if step.terminated.any():
                batch.reset(step.terminated)
        return actions.shape[0] * config.envs

    def one_by_one() -> int:
        steps = actions.shape[0] * config.envs // 4  # a quarter is enough
        single.reset()
        for action in actions.reshape(-1, 19)[:steps]:
            if single.step(action)[2]:
                single.reset()
        return steps

    def bare_physics() -> int:
        bare.reset()
        model, rows = bare.physics.models[0], bare.physics.data
        for targets in bare.control(actions):
            for row, data in enumerate(rows):
                data.ctrl[:] = targets[row]
                mujoco.mj_step(model, data, SUBSTEPS)  # type: ignore[attr-defined]
            down = np.array([data.qpos[2] < 0.2 for data in rows])
            if down.any():
                bare.reset(down)
        return actions.shape[0] * config.envs

    rates = measure(
        {"batched": batched, "one environment": one_by_one, "bare mj_step": bare_physics},
        config.rounds,
    )
    batch.close()
    bare.close()
    return rates


def measure(parts: dict[str, Callable[[], int]], rounds: int) -> dict[str, float]:
    """Run all parts in turn; return each one's median rate in units per second."""
    rates: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(rounds):
        for name, part in parts.items():
            begin = time.perf_counter()
            units = part()
            rates[name].append(units / (time.perf_counter() - begin))
    return {name: float(np.median(values)) for name, values in rates.items()}


BENCHES: dict[str, Callable[[BenchConfig], dict[str, float]]] = {"env": bench_env}


def main() -> int:
    """Measure, print the table, and the table as JSON."""
    words = [word for word in sys.argv[1:] if word not in ("-h", "--help")]
    try:
        config = choose(words, {"bench": BenchConfig()}, "bench")
        if config.what not in BENCHES:
            raise ConfigError(f"cannot measure {config.what!r}; there are {sorted(BENCHES)}")
        if config.task_set not in TASK_SETS:
            raise ConfigError(f"no task_set {config.task_set!r}; there are {sorted(TASK_SETS)}")
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if len(words) < len(sys.argv) - 1:
        print(__doc__, *describe(config), sep="\n")
        return 0
    rates = BENCHES[config.what](config)
    for name, rate in rates.items():
        print(f"{name:>20s} {rate:10.0f} steps/s")
    machine = {"mujoco": mujoco.__version__, "cores": os.cpu_count()}
    print(json.dumps({**dataclasses.asdict(config), **machine, "steps_per_s": rates}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
