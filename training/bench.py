"""How fast the parts of training are, measured side by side.

    python training/bench.py what=env                         the simulator
    python training/bench.py what=search peer=<a python>      search; that python has mctx and jax
    python training/bench.py what=update config=hb_medium     gradient step of another preset
    python training/bench.py what=all                         one training step and its shares
    python training/bench.py what=levers                      cheaper re-analysis

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
from typing import Any

import mujoco
import numpy as np

from training import bench_train
from training.cli import ConfigError, choose, from_command_line
from training.config import TrainConfig
from training.gym_env import H1Gym
from training.h1_env import H1Env
from training.hb_adapter import MissingPackageError, RealEnv
from training.physics import SUBSTEPS
from training.presets import PRESETS
from training.tasks import TASK_SETS
from training.trainer import git_sha

Rates = dict[str, tuple[float, float]]  # part -> units per second: of the clock, of CPU time


@dataclass(frozen=True)
class BenchConfig:
    """What to measure, and how long."""

    what: str = "env"  # or search, update, all, levers
    config: str = "h1_small"  # preset of training whose step is measured
    peer: str = ""  # python of an environment with mctx and jax, to compare search with
    device: str = "cpu"  # of networks and search; or "cuda"
    roots: int = 0  # of what=search; 0: those of one update's re-analysis
    task_set: str = "h1_small"  # of the environments that what=env measures
    envs: int = 24  # rows of the batched environment
    threads: int = 0  # the largest number to measure, beside 1 and 2; 0: all cores
    steps: int = 60  # batched steps per round
    rounds: int = 5  # of every part; the median counts
    seed: int = 0  # of actions and networks


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


def bench_training(config: BenchConfig) -> dict[str, Any]:
    """Measure search, update, or all parts of a training step; print the table and return it."""
    chosen = dataclasses.replace(PRESETS[config.config], device=config.device, seed=config.seed)
    step = bench_train.Step(chosen)
    parts, needs = dict(step.parts()), step.per_update()
    if config.what == "search":
        one = dataclasses.replace(chosen.search, parallel=False)
        parts = {
            "candidates and search": step.searched(roots=config.roots),
            "search": step.bare_search(chosen.search, config.roots),
            "search, one by one": step.bare_search(one, config.roots),
        }
    elif config.what == "update":
        parts = {"update": parts["update"]}
    elif config.what == "levers":
        variants = bench_train.levers(chosen)
        parts = {name: bench_train.Step(own).batches for name, own in variants.items()}
    matrix = bench_train.matrix_rate(1024, step.device)
    flop = {name: bench_train.flop(part) for name, part in parts.items()}
    rates = measure({**parts, "matrix product": matrix}, config.rounds)
    peak = rates.pop("matrix product")[1] * 1e6
    step.env.close()
    if config.what == "search":
        _compare(rates, config, chosen, step.roots)
    table: dict[str, Any] = {"matrix_flop_per_cpu_s": peak, "parts": {}}
    for name, (wall, cpu) in rates.items():
        row = {"per_s": wall, "per_cpu_s": cpu}
        row |= {"flop": flop.get(name, 0.0), "of_matrix_rate": flop.get(name, 0.0) * cpu / peak}
        if config.what == "all":
            row["ms_per_update"] = 1e3 * needs[name] / cpu
        table["parts"][name] = row
    _print_training(table)
    return table


def _compare(rates: Rates, config: BenchConfig, chosen: TrainConfig, roots: int) -> None:
    """Add mctx's rate, or say loudly that it was not measured."""
    if config.peer:
        roots = config.roots or roots
        rates["mctx"] = bench_train.peer_rate(config.peer, chosen, roots, config.rounds)
    else:
        print("NOT MEASURED: mctx. Give peer=<python of an environment with mctx and jax>",
              file=sys.stderr)  # fmt: skip


def _print_training(table: dict[str, Any]) -> None:
    parts, peak = table["parts"], table["matrix_flop_per_cpu_s"]
    total = sum(row.get("ms_per_update", 0.0) for row in parts.values())
    for name, row in parts.items():
        text = f"{name:>32s} {row['per_s']:9.1f}/s {row['per_cpu_s']:9.1f} per CPU-s"
        if row["flop"]:
            text += f"  {row['flop'] * row['per_cpu_s'] / 1e9:6.1f} GFLOP/s"
            text += f" ({row['of_matrix_rate']:.0%} of a matrix product's)"
        if total:
            row["share"] = row["ms_per_update"] / total
            text += f"  {row['ms_per_update']:7.1f} ms per update, {row['share']:.0%}"
        print(text)
    if total:
        steps, roots = parts["environment"], parts["re-analysis"]
        table["updates_per_cpu_s"] = 1e3 / total
        table["env_steps_per_cpu_s"] = steps["ms_per_update"] * steps["per_cpu_s"] / total
        table["searches_per_cpu_s"] = (
            1e3
            / total
            * sum(row["ms_per_update"] * row["per_cpu_s"] / 1e3 for row in (roots, parts["acting"]))
        )
        print(
            f"per second of CPU time, all together: {table['updates_per_cpu_s']:.2f} updates, "
            f"{table['searches_per_cpu_s']:.0f} searches, {table['env_steps_per_cpu_s']:.0f} "
            "environment steps"
        )
    print(f"matrix product, 1024 x 1024, float32: {peak / 1e9:.1f} GFLOP per second of CPU time")


WHATS = ("all", "env", "levers", "search", "update")


def load(words: list[str]) -> BenchConfig:
    """Return the configuration that the words describe."""
    config = choose(words, {"bench": BenchConfig()}, "bench")
    if config.what not in WHATS:
        raise ConfigError(f"cannot measure {config.what!r}; there are {list(WHATS)}")
    if config.task_set not in TASK_SETS:
        raise ConfigError(f"no task_set {config.task_set!r}; there are {sorted(TASK_SETS)}")
    if config.config not in PRESETS:
        raise ConfigError(f"config={config.config!r}; there are {sorted(PRESETS)}")
    return config


def main() -> int:
    """Measure, print the table, and the table as JSON."""
    try:
        config = from_command_line(load, __doc__)
        if config is None:
            return 0
        facts = {**dataclasses.asdict(config), "cores": os.cpu_count(), "git": git_sha()}
        if config.what != "env":
            print(json.dumps({**facts, **bench_training(config)}))
            return 0
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rates = bench_env(config)
    for name, (wall, cpu) in rates.items():
        print(f"{name:>20s} {wall:10.0f} steps/s {cpu:10.0f} steps per second of CPU time")
    walls, cpus = ({name: rate[i] for name, rate in rates.items()} for i in (0, 1))
    facts["mujoco"] = mujoco.__version__
    print(json.dumps({**facts, "steps_per_s": walls, "steps_per_cpu_s": cpus}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
