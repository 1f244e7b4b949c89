"""Where a run's environments come from: our own, or the humanoid_bench package."""

from __future__ import annotations

import torch

from training.agent import ACTION_SIZE
from training.cli import ConfigError
from training.config import TrainConfig
from training.evaluation import MakeEnv
from training.features import view_size
from training.h1_env import H1Env
from training.hb_adapter import MissingPackageError, RealEnv

Sizes = tuple[int, int]  # of observation and action


def robot(task: str) -> str:
    """Return the robot in a name of a task: h1hand of "h1hand-walk", h1 of "walk"."""
    return task.rpartition("-")[0] or "h1"


def open_suite(config: TrainConfig) -> tuple[MakeEnv, Sizes]:
    """Return what makes the environments of a configuration, and their sizes.

    Raises:
        ConfigError: the tasks are of different robots, or of one that the suite does not have.
    """
    robots = sorted({robot(name) for name in config.tasks})
    if len(robots) > 1:
        raise ConfigError(
            f"tasks={list(config.tasks)} are of different robots ({', '.join(robots)}); "
            f"one run trains one body"
        )
    view = config.collect.observation
    if config.suite == "ours":
        if robots != ["h1"]:
            raise ConfigError(
                f"suite=ours has an h1 without hands, tasks={list(config.tasks)} want {robots[0]}; "
                f"suite=real takes them from humanoid_bench (docs/real_humanoidbench.md)"
            )
        try:
            return H1Env, (view_size(view, config.tasks), ACTION_SIZE)
        except (KeyError, ValueError) as error:
            raise ConfigError(f"tasks={list(config.tasks)}: {error.args[0]}") from None
    if view != "benchmark":
        raise ConfigError(f"collect.observation={view!r}: suite=real has only 'benchmark'")
    try:
        probe = RealEnv(config.tasks, seed=config.seed, action_map=config.collect.action_map)
    except (KeyError, ValueError) as error:
        raise ConfigError(f"suite=real: {error.args[0]}") from None
    except MissingPackageError as error:
        raise ConfigError(str(error)) from None
    probe.close()
    return RealEnv, (probe.obs_dim, probe.action_dim)


def open_device(name: str) -> torch.device:
    """Return the torch device of that name.

    Raises:
        ConfigError: it is not there.
    """
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device={name!r}, but torch {torch.__version__} sees {torch.cuda.device_count()} CUDA "
            f"devices; device=cpu works everywhere"
        )
    return device
