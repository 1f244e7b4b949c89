"""Which values a demonstrator's and a recording's configuration can have, and what may resume."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open

from runtime.h1 import ACTION_MAPS
from training.checks import (
    COUNT,
    NATURAL,
    POSITIVE,
    SEED,
    SHARE,
    SUBSTEPS,
    THREADS,
    Bounds,
    check_bounds,
    check_finite,
    check_range,
    check_tasks,
)
from training.cli import ConfigError, to_dict
from training.tasks import task

RATE = Bounds(0, 1, above=True)
_BOTH = {
    "seed": SEED, "fall_height": NATURAL, "delay_substeps": SUBSTEPS, "start_noise": NATURAL,
    "guarded": SHARE, "handover": SHARE, "episode_steps": COUNT, "steps": COUNT,
}  # fmt: skip
RUN = _BOTH | {
    "updates": COUNT, "torch_threads": THREADS, "envs_per_task": COUNT, "update_ratio": POSITIVE,
    "batch": COUNT, "discount": RATE, "own_share": SHARE, "gentle_after": NATURAL,
    "speed_penalty": NATURAL, "power_penalty": NATURAL, "power_share": NATURAL,
    "drift_penalty": NATURAL, "haste_penalty": NATURAL, "smooth": NATURAL, "capacity": COUNT,
    "random_steps": NATURAL, "random_scale": SHARE, "evaluate_every": COUNT,
    "evaluate_episodes": COUNT, "log_every": COUNT, "nominal": SHARE, "sac.width": COUNT,
    "sac.actor_lr": POSITIVE, "sac.critic_lr": POSITIVE, "sac.alpha_lr": POSITIVE,
    "sac.target_rate": RATE, "sac.average_rate": RATE, "sac.actor_every": COUNT,
    "sac.initial_alpha": POSITIVE,
}  # fmt: skip
RECORDING = _BOTH | {
    "rows": COUNT, "noise": POSITIVE, "since": NATURAL, "until": NATURAL, "brake_speed": NATURAL,
}  # fmt: skip
SAME = ("tasks", "action_map", "envs_per_task", "capacity", "sac.width")  # of a run that goes on


def check_run(config: Any) -> None:
    """Refuse a `DemonstratorConfig` with an impossible value.

    Raises:
        ConfigError: there is one; says what would do.
    """
    _check_common(config, RUN)
    if not config.episode_steps:
        raise ConfigError("episode_steps=[]: expected one number of steps at least")
    if config.log_every < config.sac.actor_every:
        raise ConfigError(
            f"log_every={config.log_every}: expected sac.actor_every={config.sac.actor_every} at "
            "least, or there is nothing to log"
        )
    rows = len(config.tasks) * config.envs_per_task
    if config.capacity // rows < config.steps + 2:
        raise ConfigError(
            f"capacity={config.capacity} is {config.capacity // rows} transitions for each of "
            f"{rows} rows; expected {config.steps + 2} at least, for returns of steps="
            f"{config.steps}"
        )


def check_recording(config: Any) -> None:
    """Refuse a `DemonstrateConfig` with an impossible value.

    Raises:
        ConfigError: there is one; says what would do.
    """
    _check_common(config, RECORDING)
    check_known("before", config.before)
    check_known("brake_tasks", config.brake_tasks)
    if len(config.noise) != 2:
        raise ConfigError(f"noise={list(config.noise)}: expected [of the first row, of the last]")


def check_known(key: str, names: Sequence[str]) -> None:
    """Refuse names that are no task's."""
    try:
        for name in names:
            task(name)
    except KeyError as error:
        raise ConfigError(f"{key}={list(names)}: {error.args[0]}") from None


def _check_common(config: Any, bounds: dict[str, Bounds]) -> None:
    check_finite(config)
    check_bounds(config, bounds)
    check_range("delay_substeps", config.delay_substeps, equal=True)
    if not config.tasks:
        raise ConfigError("tasks=[]: expected one task at least")
    check_known("tasks", config.tasks)
    check_tasks(config.tasks)
    if config.action_map not in ACTION_MAPS:
        raise ConfigError(f"action_map={config.action_map!r}; there are {', '.join(ACTION_MAPS)}")


def check_same(resume: Path, config: Any) -> None:
    """Refuse to go on with a saved run whose actions, tasks or sizes are others.

    Raises:
        ConfigError: they differ; says in what.
        SafetensorError: the file is not complete.
    """
    with safe_open(resume, framework="np") as file:
        theirs = json.loads((file.metadata() or {}).get("config", "{}"))
    ours = to_dict(config)
    differ = [
        f"{key} is {_at(theirs, key)} there, {_at(ours, key)} here"
        for key in SAME
        if _at(theirs, key) not in (None, _at(ours, key))
    ]
    if differ:
        raise ConfigError(
            f"cannot resume {resume.parent}: {', '.join(differ)}; another out= begins anew"
        )


def _at(values: dict[str, Any], key: str) -> Any:
    for name in key.split("."):
        values = values.get(name, {})
    return None if values == {} else values
