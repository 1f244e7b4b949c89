"""How fast the parts of training are, measured side by side: `python training/bench.py what=env`.

Every row of the table is measured in turn, `rounds` times over, so that a busy machine slows all of
them alike; the figure is the median. On a busy machine compare the rates per CPU time. The last
line is the table as JSON.
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
from training.hb_adapter import MissingPackageError, RealEnv
from training.physics import SUBSTEPS
from training.tasks import TASK_SETS

Rates = dict[str, tuple[float, float]]  # part -> units per second: of the clock, of CPU time


@dataclass(frozen=True)
class BenchConfig:
    """What to measure, and how long."""

    what: str = "env"
    task_set: str = "h1_small"
    envs: int = 24  # rows of the batched environment
    threads: int = 0  # the largest number to measure, beside 1 and 2; 0: all cores
    steps: int = 60  # batched steps per round
    rounds: int = 5
    seed: int = 0


def _policy(config: BenchConfig) -> np.ndarray:
    """Return near-home actions [steps, E, 19] of the home map: the robots stand, sway, fall."""
    shape = (config.steps, config.envs, 19)
    noise = np.random.default_rng(config.seed).normal(0.0, 0.2, shape)
    return noise.clip(-1, 1).astype(np.float32)


def bench_env(config: BenchConfig) -> Rates:
    """Return environment steps per second of the batch, of one environment, of bare mj_step.

    The batch on 1, 2 and `threads` threads, the rest on one; the real package if it imports.
    """
    names = TASK_SETS[config.task_set]
    tasks = [names[row % len(names)] for row in range(config.envs)]
    actions = _policy(config)
    counts = sorted({1, 2, config.threads or os.cpu_count() or 1})
    batches = {count: H1Env(tasks, seed=config.seed, action_map="home", threads=count)
               for count in counts}  # fmt: skip
    bare = H1Env(tasks, seed=config.seed, action_map="home")
    parts = {
        "batched" if count == 1 else f"batched, {count} threads": _batched(batch, actions)
        for count, batch in batches.items()
    }
    parts["one environment"] = _one_by_one(H1Gym(tasks[0], action_map="home"), actions)
    parts["bare mj_step"] = _bare(bare, actions)
    try:
        real = RealEnv([tasks[0]], seed=config.seed, action_map="home")
    except MissingPackageError as error:
        print(f"not measured: {error}", file=sys.stderr)
    else:
        parts["real humanoid_bench"] = _batched(
            real, actions[: len(actions) // 4 + 1, :1], config.envs
        )
    rates = measure(parts, config.rounds)
    for env in (*batches.values(), bare):
        env.close()
    return rates


def _batched(env: H1Env | RealEnv, actions: np.ndarray, times: int = 1) -> Callable[[], int]:
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


def _one_by_one(env: H1Gym, actions: np.ndarray) -> Callable[[], int]:
    """Return a part that plays a quarter of all actions on one environment."""

    def play() -> int:
        own = actions.reshape(-1, 19)[: actions.shape[0] * actions.shape[1] // 4]
        env.reset()
        for action in own:
            if env.step(action)[2]:
                env.reset()
        return len(own)

    return play


def _bare(env: H1Env, actions: np.ndarray) -> Callable[[], int]:
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


def measure(parts: dict[str, Callable[[], int]], rounds: int) -> Rates:
    """Run all parts in turn; return each one's median rates in units per second."""
    wall: dict[str, list[float]] = {name: [] for name in parts}
    cpu: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(rounds):
        for name, part in parts.items():
            begin, used = time.perf_counter(), time.process_time()
            units = part()
            wall[name].append(units / (time.perf_counter() - begin))
            cpu[name].append(units / (time.process_time() - used))
    return {name: (float(np.median(wall[name])), float(np.median(cpu[name]))) for name in parts}


BENCHES: dict[str, Callable[[BenchConfig], Rates]] = {"env": bench_env}


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
    for name, (wall, cpu) in rates.items():
        print(f"{name:>20s} {wall:10.0f} steps/s {cpu:10.0f} steps per second of CPU time")
    walls, cpus = ({name: rate[i] for name, rate in rates.items()} for i in (0, 1))
    machine = {"mujoco": mujoco.__version__, "cores": os.cpu_count()}
    print(
        json.dumps(
            {**dataclasses.asdict(config), **machine, "steps_per_s": walls, "steps_per_cpu_s": cpus}
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
