"""Which values of a training run's configuration are possible, and which fit together.

Knows the shape of `training.config.TrainConfig`, which calls it, and builds nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtime.h1 import ACTION_MAPS
from training.cli import ConfigError
from training.tasks import task

if TYPE_CHECKING:
    from training.config import TrainConfig


@dataclass(frozen=True)
class Bounds:
    """An interval; its upper end belongs to it, its lower end unless `above`."""

    low: float
    high: float = math.inf
    above: bool = False

    def __contains__(self, value: float) -> bool:
        return (value > self.low if self.above else value >= self.low) and value <= self.high

    def __str__(self) -> str:
        least = f"above {self.low}" if self.above else f"at least {self.low}"
        return least if self.high == math.inf else f"{least} and at most {self.high}"


COUNT, NATURAL = Bounds(1), Bounds(0)
POSITIVE, SHARE = Bounds(0, above=True), Bounds(0, 1)
THREADS = Bounds(1, 1024)
SEED = Bounds(0, 2**62)  # seeds of actors and evaluations are made by adding to it
SUBSTEPS = Bounds(0, 10)  # of a control step; as in training/physics.py

# key -> where its value lies, or every number of it
BOUNDS: dict[str, Bounds] = {
    "seed": SEED,
    "updates": COUNT,
    "update_ratio": POSITIVE,
    "torch_threads": THREADS,
    "segment": COUNT,
    "evaluate_every": COUNT,
    "evaluate_episodes": COUNT,
    "cosine_every": NATURAL,
    "log_every": COUNT,
    "max_minutes": NATURAL,
    **{f"model.{name}": COUNT for name in (
        "latent", "width", "task_embedding", "action_embedding", "head_hidden", "policy_hidden",
        "value_heads", "projector",
    )},
    "model.blocks": NATURAL,
    "model.reward_blocks": NATURAL,
    "model.bins": Bounds(2),
    "search.simulations": COUNT,
    "search.leaf_actions": COUNT,
    "search.discount": Bounds(0, 1, above=True),
    "search.c_visit": NATURAL,
    "search.c_scale": NATURAL,
    "search.min_max_delta": POSITIVE,
    "proposals.mean": SHARE,
    **{f"proposals.{name}": NATURAL for name in (
        "narrow", "wide", "wide_scale", "gradient", "gradient_step", "gradient_floor",
    )},
    "targets.unroll": COUNT,
    "targets.td_steps": COUNT,
    "targets.search_value_after": NATURAL,
    "targets.search_value_newest": NATURAL,
    "targets.reanalyse_share": SHARE,
    "targets.policy_staleness": NATURAL,
    "targets.lookahead": NATURAL,
    "targets.imagined_share": SHARE,
    **{f"loss.{name}": NATURAL for name in (
        "reward", "value", "policy", "ascent", "consistency", "path_consistency", "entropy",
        "head_weight",
    )},
    "optim.batch": COUNT,
    "optim.lr": POSITIVE,
    "optim.l2": NATURAL,
    "optim.clip": POSITIVE,
    "optim.drop_at": NATURAL,
    "optim.ema": SHARE,
    "optim.ema_every": COUNT,
    "optim.freeze_norm_after": NATURAL,
    "replay.capacity": COUNT,
    "replay.priority_exponent": NATURAL,
    "replay.correction_exponent": NATURAL,
    "replay.weight_floor": NATURAL,
    "replay.task_share": POSITIVE,
    "replay.recent_share": SHARE,
    "replay.recent": COUNT,
    "replay.drop_tail": NATURAL,
    "collect.envs_per_task": COUNT,
    "collect.episode_steps": COUNT,
    "collect.long_episodes_after": NATURAL,
    "collect.saturation": NATURAL,
    "collect.random_steps": NATURAL,
    "collect.random_scale": SHARE,
    "collect.noise": NATURAL,
    "collect.noise_spread": POSITIVE,
    "collect.noise_end": NATURAL,
    "collect.delay_substeps": SUBSTEPS,
    "collect.threads": THREADS,
    "imitation.pretrain": NATURAL,
    "imitation.share": SHARE,
    "imitation.share_end": SHARE,
    "imitation.weight": NATURAL,
    "imitation.weight_end": NATURAL,
}  # fmt: skip

# key -> may its two ends be equal?
RANGES = {
    "model.reward_range": False,
    "model.value_range": False,
    "model.log_std_range": True,
    "collect.delay_substeps": True,
}

CHOICES: dict[str, tuple[str, ...]] = {
    "targets.policy_target": ("best", "weighted"),
    "targets.value_reduce": ("min2", "min2_each", "min", "mean"),
    "loss.entropy_mode": ("as-released", "off", "bonus", "target"),
    "model.head_norm": ("batch", "layer"),
    "model.support": ("h", "linear"),
    "collect.action_map": tuple(ACTION_MAPS),
    "collect.observation": ("benchmark", "body"),
    "collect.random_stores": ("executed", "planned"),
    "loss.path_target": ("mean", "min"),
    "optim.average_start": ("copy", "own"),
    "optim.decay": ("adam", "adamw"),
    "search.counts": ("as-released", "gumbel"),
    "search.rescale": ("tree", "node"),
    "engine": ("local", "ray"),
    "suite": ("ours", "real"),
    "precision": ("float32", "bfloat16"),
}


def check(config: TrainConfig) -> None:
    """Refuse a configuration that cannot train.

    Raises:
        ConfigError: a value is impossible, or two do not fit together; says what would.
    """
    check_finite(config)
    check_bounds(config, BOUNDS)
    check_tasks(config.tasks)
    for key, equal in RANGES.items():
        check_range(key, _value(config, key), equal)
    for key, allowed in CHOICES.items():
        if _value(config, key) not in allowed:
            raise ConfigError(f"{key}={_value(config, key)!r}; there are {', '.join(allowed)}")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", config.device):
        raise ConfigError(f"device={config.device!r}; there are cpu, cuda, cuda:0, cuda:1, …")
    _check_length(config)
    _check_targets(config)
    _check_batch(config)
    if config.replay.shared:
        _check_sharing(config)


def check_finite(config: Any, prefix: str = "") -> None:
    """Refuse nan and infinity, anywhere in a configuration."""
    for item in dataclasses.fields(config):
        key, value = prefix + item.name, getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            check_finite(value, f"{key}.")
        elif not all(math.isfinite(number) for number in _numbers(value)):
            raise ConfigError(f"{key}={_shown(value)}: expected finite numbers")


def check_bounds(config: Any, bounds: dict[str, Bounds]) -> None:
    """Refuse numbers outside the bounds of their key, and nan."""
    for key, allowed in bounds.items():
        value = _value(config, key)
        if not all(number in allowed for number in _numbers(value)):
            raise ConfigError(f"{key}={_shown(value)}: expected {allowed}")


def check_tasks(names: tuple[str, ...]) -> None:
    """Refuse a name that is given twice."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"tasks={list(names)}: expected every name once, {twice} come twice")


def check_range(key: str, value: tuple[float, ...], equal: bool) -> None:
    """Refuse what is not (low, high); `equal`: the two may be the same."""
    if len(value) != 2 or not (value[0] <= value[1] if equal else value[0] < value[1]):
        raise ConfigError(
            f"{key}={list(value)}: expected [low, high] with low {'<=' if equal else '<'} high"
        )


def _value(config: Any, key: str) -> Any:
    return functools.reduce(getattr, key.split("."), config)


def _numbers(value: Any) -> list[float]:
    items = value if isinstance(value, tuple) else (value,)
    return [item for item in items if isinstance(item, int | float)]


def _shown(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _check_length(config: TrainConfig) -> None:
    if config.offline_updates and not 0 < config.offline_updates < config.updates:
        raise ConfigError(
            f"offline_updates={config.offline_updates} is not in 0..{config.updates - 1} (updates)"
        )
    if config.record and config.collect.random_stores != "executed":
        raise ConfigError(
            "record=true writes what was executed, collect.random_stores="
            f"{config.collect.random_stores!r} keeps something else; give executed"
        )
    if config.evaluate_every % config.segment:
        raise ConfigError(
            f"evaluate_every={config.evaluate_every} is no multiple of segment={config.segment}"
        )


def _check_targets(config: TrainConfig) -> None:
    targets, candidates = config.targets, config.proposals.count
    if candidates < 1:
        raise ConfigError("proposals.* are all 0: expected one root candidate of a search at least")
    if config.search.simulations < candidates:
        raise ConfigError(
            f"search.simulations={config.search.simulations} is less than the "
            f"{candidates} root candidates of proposals.*"
        )
    positions = targets.unroll + 1
    if not 1 <= targets.reanalyse_positions <= positions:
        raise ConfigError(
            f"targets.reanalyse_positions={targets.reanalyse_positions} is not in "
            f"1..{positions}, the positions of targets.unroll={targets.unroll}"
        )
    if targets.reanalyse_every < 1:
        raise ConfigError(f"targets.reanalyse_every={targets.reanalyse_every} is less than 1")
    if targets.imagined_share and not targets.lookahead:
        raise ConfigError(
            f"targets.imagined_share={targets.imagined_share} needs targets.lookahead=1 "
            "or more: without, a value would be its own target"
        )


def _check_batch(config: TrainConfig) -> None:
    shares, tasks = config.replay.task_share, config.tasks
    if not tasks or config.optim.batch < len(tasks):
        raise ConfigError(
            f"optim.batch={config.optim.batch} gives no sample to each of tasks={tasks}"
        )
    if shares and len(shares) != len(tasks):
        raise ConfigError(
            f"replay.task_share={list(shares)}: expected one positive number for each of "
            f"{list(tasks)}"
        )
    rows = len(tasks) * config.collect.envs_per_task
    if config.engine == "ray" and config.ray.collectors > rows:
        raise ConfigError(f"ray.collectors={config.ray.collectors} share {rows} environments")


def _check_sharing(config: TrainConfig) -> None:
    scenes = sorted({task(name).scene for name in config.tasks})
    if config.suite != "ours" or config.schedule.moves_rows or len(scenes) > 1:
        raise ConfigError(
            "replay.shared=true needs suite=ours, a schedule that leaves the rows alone and "
            f"tasks of one scene; given suite={config.suite}, schedule.kind={config.schedule.kind}"
            f", {list(config.tasks)} of {scenes}"
        )
