"""A demonstrator (model-free SAC) in a teacher's place: for comparison with a distilled planner.

What is shipped is distilled from the planner; a card made here says that it is not.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from distill.config import LabelConfig
from distill.teacher import Guide, Labels, Teacher, median_us, plain_controllers
from training import demonstrator
from training.agent import OBSERVATION_SIZE
from training.cli import ConfigError, to_dict
from training.contenders import is_demonstrator
from training.evaluation import ActFunction
from training.sac import Sac


@dataclass(frozen=True)
class Demonstrated:
    """A demonstrator's averaged policy as a `Guide`."""

    sac: Sac
    config: demonstrator.DemonstratorConfig
    tasks: tuple[str, ...]
    index: np.ndarray  # [T] the demonstrator's index of each task
    path: Path
    facts: dict[str, str]

    @classmethod
    def load(cls, path: str | Path, tasks: tuple[str, ...] = ()) -> Demonstrated:
        """Load a demonstrator's file and check that it knows these tasks (default: its own).

        Raises:
            ConfigError: it does not, or the file is no demonstrator's.
        """
        if not is_demonstrator(str(path)):
            raise ConfigError(
                f"demonstrator={path}: no file of training/demonstrator.py; expected its "
                "best.safetensors or an actor_*.safetensors"
            )
        sac, config = demonstrator.load(path)
        strange = [name for name in tasks if name not in config.tasks]
        if strange:
            raise ConfigError(f"{path} was trained on {list(config.tasks)}, not on {strange}")
        chosen = tasks or config.tasks
        index = np.array([config.tasks.index(name) for name in chosen])
        sha = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        facts = {"sha256": sha, "updates": _updates(path), "commit": "unknown"}
        return cls(sac, config, chosen, index, Path(path), facts)

    @property
    def action_map(self) -> str:
        return self.config.action_map

    @property
    def reference(self) -> str:
        return "demonstrator"

    @property
    def wanted(self) -> tuple[str, ...]:
        return ("mean",)

    def act(self, observation: np.ndarray, task: np.ndarray) -> np.ndarray:
        """Return actions [B, 19] for privileged observations [B, O] of tasks [B]."""
        return demonstrator.actions(self.sac, observation, self.index[task])

    def labels(
        self,
        observation: np.ndarray,
        task: np.ndarray,
        generator: torch.Generator,
        wanted: Sequence[str],
    ) -> Labels:
        """Return the action under every name: nothing here searches."""
        action = self.act(observation, task)
        return {name: action for name in wanted}

    def controllers(self, seed: int) -> dict[str, ActFunction]:
        """Return random, home and the demonstrator."""
        return {**plain_controllers(self.action_map, seed), "demonstrator": self.act}

    def describe(self) -> dict[str, Any]:
        """Return what the card says of it."""
        return {
            "kind": "demonstrator",
            **self.facts,
            "tasks": list(self.config.tasks),
            "training": to_dict(self.config) | {"out": ""},
        }

    def decision_us(self) -> float:
        """Return microseconds per single decision, the median."""
        observation = np.zeros((1, OBSERVATION_SIZE), np.float32)
        observation[:, 3] = 1.0
        return median_us(lambda: self.act(observation, np.zeros(1, np.int64)), 100)

    def save(self, path: Path) -> None:
        """Copy the file."""
        shutil.copyfile(self.path, path)


def load_guide(path: str, config: LabelConfig, tasks: tuple[str, ...] = ()) -> Guide:
    """Return the teacher behind a path: a demonstrator's file, or an agent of any form."""
    if is_demonstrator(path):
        return Demonstrated.load(path, tasks)
    return Teacher.load(path, config, tasks)


def _updates(path: str | Path) -> str:
    with safe_open(path, framework="np") as file:
        return str((file.metadata() or {}).get("updates", "unknown"))
