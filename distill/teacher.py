"""The teacher: a trained agent, how it labels states, and what it is worth before anything else.

It sees HumanoidBench's privileged state; nothing of it reaches the student but its actions.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from distill.config import LabelConfig
from runtime import h1
from training.agent import Agent
from training.checkpoint import find_agent
from training.config import ConfigError
from training.evaluation import ActFunction
from training.mcts import halving_rounds
from training.planner import PlannerConfig


@dataclass(frozen=True)
class Teacher:
    """An agent, the tasks to be distilled, and the search that labels."""

    agent: Agent
    tasks: tuple[str, ...]
    index: np.ndarray  # [T] the agent's index of each task
    planner: PlannerConfig
    config: LabelConfig
    facts: dict[str, str]  # where it came from

    @classmethod
    def load(cls, path: str | Path, config: LabelConfig, tasks: tuple[str, ...] = ()) -> Teacher:
        """Load an agent and check that it can label these tasks (default: all of its own).

        Raises:
            CheckpointError: no agent at `path`.
            ConfigError: a task it was not trained on, an action map that no robot has, or a search
                that cannot be.
        """
        file = find_agent(Path(path))
        agent = Agent.load(file)
        try:
            index = np.array([agent.task_index(name) for name in tasks or agent.tasks])
            h1.action_map(agent.action_map)
        except (ValueError, KeyError) as error:
            raise ConfigError(f"ckpt, tasks: {error.args[0]}") from None
        planner = label_planner(agent, config)
        try:
            halving_rounds(planner.search.simulations, planner.proposals.count)
        except ValueError as error:
            raise ConfigError(f"label.*: {error}") from None
        facts = {
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "updates": agent.facts.get("updates", "unknown"),
            "commit": _commit_of(file, agent),
        }
        return cls(agent, tasks or agent.tasks, index, planner, config, facts)

    def label(
        self, observation: np.ndarray, task: np.ndarray, generator: torch.Generator
    ) -> np.ndarray:
        """Return what to do [B, 19] in privileged observations [B, 51] of tasks [B]."""
        index = self.index[task]
        if self.config.target == "mean":
            return self.agent.policy_mean(observation, index)
        labels = [self._search(observation, index, generator) for _ in range(self.config.repeats)]
        return np.stack(labels).mean(axis=0)

    def _search(
        self, observation: np.ndarray, index: np.ndarray, generator: torch.Generator
    ) -> np.ndarray:
        plan = self.agent.plan(observation, index, planner=self.planner, generator=generator)
        if self.config.target == "best":
            return plan.action
        score = np.exp(plan.scores - plan.scores.max(-1, keepdims=True))
        weight = score / score.sum(-1, keepdims=True)
        return np.einsum("bk,bka->ba", weight, plan.candidates)

    def controllers(self, seed: int) -> dict[str, ActFunction]:
        """Return everything a student is compared with, by name, each freshly seeded.

        random: uniform in the action map; home: the constant home pose; mean: tanh(mu) without
        search; search: the agent's own settings; label: what the student is shown.
        """
        generator = torch.Generator().manual_seed(seed)
        random = np.random.default_rng(seed)
        home = np.clip(h1.action_map(self.agent.action_map).action(h1.DEFAULT_POSE), -1, 1)
        agent, index = self.agent, self.index
        return {
            "random": lambda o, t: random.uniform(-1.0, 1.0, (len(o), h1.NUM_JOINTS)),
            "home": lambda o, t: np.tile(home, (len(o), 1)),
            "mean": lambda o, t: agent.policy_mean(o, index[t]),
            "search": lambda o, t: agent.plan(o, index[t], generator=generator).action,
            "label": lambda o, t: self.label(o, t, generator),
        }


def label_planner(agent: Agent, config: LabelConfig) -> PlannerConfig:
    """Return the agent's search with the settings that `config` replaces."""
    kinds = ("mean", "narrow", "wide", "gradient")
    proposals = {kind: getattr(config, kind) for kind in kinds if getattr(config, kind) >= 0}
    search = {"simulations": config.simulations} if config.simulations >= 0 else {}
    planner = agent.with_search(proposals=proposals, **search)
    return dataclasses.replace(planner, value_reduce=config.value_reduce)


def _commit_of(file: Path, agent: Agent) -> str:
    """Return the commit that trained an agent, from its run folder if it still lies there."""
    if "git" in agent.facts:
        return agent.facts["git"]
    for folder in file.resolve().parents[:3]:
        record = folder / "config.json"
        if record.is_file():
            return str(json.loads(record.read_text()).get("git", "unknown"))
    return "unknown"
