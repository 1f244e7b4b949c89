"""How fast the parts of training are, measured side by side.

    python training/bench.py what=env                         the simulator
    python training/bench.py what=search peer=<a python>      search; that python has mctx and jax
    python training/bench.py what=update config=hb_medium     gradient step of another preset
    python training/bench.py what=all                         one training step and its shares
    python training/bench.py what=all device=cuda config=hb_medium precision=bfloat16 compile=true
    python training/bench.py what=levers                      cheaper re-analysis

Every row of the table is measured in turn, `rounds` times over, so that a busy machine slows all of
them alike; the figure is the median. On a CPU, which may be busy, compare the rates per CPU time.
With device=cuda those of the clock count: the CPU only waits there. The last line is the table as
JSON.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import mujoco
import numpy as np
import torch

from training import bench_env, bench_peer, bench_table, bench_train
from training.bench_table import CLOCKS, Matrix, Rates
from training.cli import ConfigError, choose, from_command_line
from training.config import TrainConfig
from training.gym_env import H1Gym
from training.h1_env import H1Env
from training.hb_adapter import MissingPackageError, RealEnv
from training.presets import PRESETS
from training.tasks import TASK_SETS
from training.trainer import git_sha

WARM_CALLS = 3  # before compiled code runs as it will: compile, record the CUDA graph, replay it


@dataclass(frozen=True)
class BenchConfig:
    """What to measure, and how long."""

    what: str = "env"  # or search, update, all, levers
    config: str = "h1_small"  # preset of training whose step is measured
    peer: str = ""  # python of an environment with mctx and jax, to compare search with
    device: str = "cpu"  # of networks and search; or "cuda"
    precision: str = ""  # float32 or bfloat16; empty: that of the config
    compile: bool | None = None  # optim.compile of what is measured; null: that of the config
    compile_search: bool | None = None  # optim.compile_search; null: that of the config
    filled: int = 0  # frames of each task in the replay of what=all; 0: of a run half done
    roots: int = 0  # of what=search; 0: those of one update's re-analysis
    task_set: str = "h1_small"  # of the environments that what=env measures
    envs: int = 24  # rows of the batched environment
    threads: int = 0  # simulator's; what=env: 1, 2, these (0: all cores); else 0: the config's
    steps: int = 60  # batched steps per round
    rounds: int = 5  # of every part; the median counts
    seed: int = 0  # of actions and networks


def _policy(config: BenchConfig) -> np.ndarray:
    """Return near-home actions [steps, E, 19] of the home map: the robots stand, sway, fall."""
    shape = (config.steps, config.envs, 19)
    noise = np.random.default_rng(config.seed).normal(0.0, 0.2, shape)
    return noise.clip(-1, 1).astype(np.float32)


def bench_physics(config: BenchConfig) -> Rates:
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
        "batched" if count == 1 else f"batched, {count} threads": bench_env.batched(batch, actions)
        for count, batch in batches.items()
    }
    parts["one environment"] = bench_env.one_by_one(H1Gym(tasks[0], action_map="home"), actions)
    parts["bare mj_step"] = bench_env.bare(bare, actions)
    try:
        real = RealEnv([tasks[0]], seed=config.seed, action_map="home")
    except MissingPackageError as error:
        print(f"not measured: {error}", file=sys.stderr)
    else:
        parts["real humanoid_bench"] = bench_env.batched(
            real, actions[: len(actions) // 4 + 1, :1], config.envs
        )
    rates = measure(parts, config.rounds)
    for env in (*batches.values(), bare):
        env.close()
    return rates


def measure(
    parts: dict[str, Callable[[], int]], rounds: int, wait: Callable[[], None] = lambda: None
) -> Rates:
    """Run all parts in turn; return each one's median rates in units per second.

    `wait` returns when the device has done what it was asked for.
    """
    wall: dict[str, list[float]] = {name: [] for name in parts}
    cpu: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(rounds):
        for name, part in parts.items():
            wait()
            begin, used = time.perf_counter(), time.process_time()
            units = part()
            wait()
            wall[name].append(units / (time.perf_counter() - begin))
            cpu[name].append(units / (time.process_time() - used))
    return {name: (float(np.median(wall[name])), float(np.median(cpu[name]))) for name in parts}


def training_config(config: BenchConfig) -> TrainConfig:
    """Return the preset whose step is measured, with what `config` says otherwise."""
    chosen = PRESETS[config.config]
    told = {"compile": config.compile, "compile_search": config.compile_search}
    optim = {key: value for key, value in told.items() if value is not None}
    return dataclasses.replace(
        chosen,
        device=config.device,
        seed=config.seed,
        precision=config.precision or chosen.precision,
        optim=dataclasses.replace(chosen.optim, **optim),
        collect=dataclasses.replace(
            chosen.collect, threads=config.threads or chosen.collect.threads
        ),
    )


def _parts(config: BenchConfig, step: bench_train.Step) -> dict[str, bench_train.Part]:
    """Return what `config.what` measures of a training step, by name."""
    parts, search = step.parts(), step.config.search
    if config.what == "search":
        one = dataclasses.replace(search, parallel=False)
        return {
            "candidates and search": step.searched(roots=config.roots),
            "search": step.bare_search(search, config.roots),
            "search, one by one": step.bare_search(one, config.roots),
        }
    if config.what == "update":
        return {"update": parts["update"]}
    if config.what == "levers":
        variants = bench_train.levers(step.config)
        return {name: bench_train.Step(own).batches for name, own in variants.items()}
    if config.peer:
        parts["search"] = step.bare_search(search, config.roots)
    return parts


def _flop(
    config: BenchConfig, step: bench_train.Step, parts: dict[str, bench_train.Part]
) -> dict[str, float]:
    """Return the FLOP of each part, per unit; compiled code is counted as its source runs."""
    optim = step.config.optim
    if not (optim.compile or optim.compile_search):
        return {name: bench_train.flop(part) for name, part in parts.items()}
    plain = dataclasses.replace(optim, compile=False, compile_search=False)
    eager = bench_train.Step(dataclasses.replace(step.config, optim=plain))
    flop = {name: bench_train.flop(part) for name, part in _parts(config, eager).items()}
    eager.env.close()
    return flop


def _wait(device: torch.device) -> Callable[[], None]:
    """Return what returns when the device is done."""
    return partial(torch.cuda.synchronize, device) if device.type == "cuda" else lambda: None


def bench_training(config: BenchConfig) -> dict[str, Any]:
    """Measure search, update, or all parts of a training step; print the table and return it."""
    chosen, needs = training_config(config), {}
    facts: dict[str, Any] = {
        "precision": chosen.precision,
        "compile": chosen.optim.compile,
        "compile_search": chosen.optim.compile_search,
        "threads": chosen.collect.threads,
    }
    step = bench_train.Step(chosen)
    if config.what == "all":
        facts["filled"] = config.filled or bench_train.half_done(step)
        step.fill(facts["filled"])
        needs = step.per_update()
    parts = _parts(config, step)
    flop = _flop(config, step, parts)
    size, kind = bench_train.matrix_kind(step.device, chosen.precision)
    timed = {**parts, "matrix product": bench_train.matrix_rate(size, kind, step.device)}
    on_gpu = step.device.type == "cuda"
    if on_gpu or chosen.optim.compile or chosen.optim.compile_search:
        measure(timed, WARM_CALLS)
    rates = measure(timed, config.rounds, _wait(step.device))
    wall, cpu = rates.pop("matrix product")
    step.env.close()
    matrix = Matrix(size, chosen.precision, (wall * 1e6, cpu * 1e6))
    clock = CLOCKS[0 if on_gpu else 1]
    if config.peer:
        roots = config.roots or step.roots
        peer = bench_peer.peer_rate(config.peer, chosen, roots, config.rounds)
        rates["mctx"] = peer.rate
        facts |= bench_peer.compared(rates["search"], peer, clock)
    table = bench_table.tabulate(rates, flop, needs, matrix, clock) | facts
    bench_table.show(table)
    if config.peer:
        bench_peer.show(table, chosen)
    elif config.what == "search":
        print("NOT MEASURED: mctx. Give peer=<python of an environment with mctx and jax>",
              file=sys.stderr)  # fmt: skip
    return table


WHATS = ("all", "env", "levers", "search", "update")
_OF_A_STEP = ("all", "levers", "search", "update")
_COUNTS_IN = {  # key -> what it counts in; elsewhere it would be ignored
    "peer": ("all", "search"),
    "filled": ("all",),
    "precision": _OF_A_STEP,
    "compile": _OF_A_STEP,
    "compile_search": _OF_A_STEP,
}


def load(words: list[str]) -> BenchConfig:
    """Return the configuration that the words describe."""
    config = choose(words, {"bench": BenchConfig()}, "bench")
    if config.what not in WHATS:
        raise ConfigError(f"cannot measure {config.what!r}; there are {list(WHATS)}")
    if config.task_set not in TASK_SETS:
        raise ConfigError(f"no task_set {config.task_set!r}; there are {sorted(TASK_SETS)}")
    if config.config not in PRESETS:
        raise ConfigError(f"config={config.config!r}; there are {sorted(PRESETS)}")
    for key, whats in _COUNTS_IN.items():
        value = getattr(config, key)
        if value != getattr(BenchConfig(), key) and config.what not in whats:
            raise ConfigError(
                f"{key}={value} counts only with what={' or '.join(whats)}, given {config.what}"
            )
    if config.peer:
        bench_peer.check(config.peer)
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
    rates = bench_physics(config)
    for name, (wall, cpu) in rates.items():
        print(f"{name:>20s} {wall:10.0f} steps/s {cpu:10.0f} steps per second of CPU time")
    walls, cpus = ({name: rate[i] for name, rate in rates.items()} for i in (0, 1))
    facts["mujoco"] = mujoco.__version__
    print(json.dumps({**facts, "steps_per_s": walls, "steps_per_cpu_s": cpus}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
