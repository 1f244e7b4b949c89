"""The teacher: a trained agent, how it labels states, and what it is worth before anything else.

It sees HumanoidBench's privileged state; nothing of it reaches the student but its actions.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from distill.config import LabelConfig
from distill.targets import search_labels
from runtime import h1
from training.agent import OBSERVATION_SIZE, Agent
from training.checkpoint import find_agent, half_precision, save_agent
from training.cli import ConfigError, to_dict
from training.evaluation import ActFunction
from training.mcts import halving_rounds
from training.planner import PlannerConfig
from training.policy_head import sample

Labels = dict[str, np.ndarray]  # name -> [B, ...]; the names are in distill/targets.py


class Guide(Protocol):
    """What a student can be taught by."""

    @property
    def tasks(self) -> tuple[str, ...]: ...

    @property
    def action_map(self) -> str: ...

    @property
    def facts(self) -> dict[str, str]: ...

    @property
    def reference(self) -> str:
        """The controller that retention is measured against."""
        ...

    @property
    def wanted(self) -> tuple[str, ...]:
        """The labels a student is fitted to, the action first."""
        ...

    def labels(
        self,
        observation: np.ndarray,
        task: np.ndarray,
        generator: torch.Generator,
        wanted: Sequence[str],
    ) -> Labels:
        """Return what to do in privileged observations [B, O] of tasks [B]."""
        ...

    def controllers(self, seed: int) -> dict[str, ActFunction]:
        """Return everything a student is compared with, by name, each freshly seeded."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return what the card says of it."""
        ...

    def decision_us(self) -> float:
        """Return microseconds per single decision, the median."""
        ...

    def save(self, path: Path) -> None:
        """Write the weights as they are shipped."""
        ...


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

    @property
    def action_map(self) -> str:
        return self.agent.action_map

    @property
    def reference(self) -> str:
        return "search"

    @property
    def wanted(self) -> tuple[str, ...]:
        target = self.config.target
        return (target, "std") if target == "gaussian" else (target,)

    def labels(
        self,
        observation: np.ndarray,
        task: np.ndarray,
        generator: torch.Generator,
        wanted: Sequence[str],
    ) -> Labels:
        """Return labels of privileged observations [B, 51] of tasks [B], by name."""
        index = self.index[task]
        found: Labels = {}
        if "mean" in wanted:
            found["mean"] = self.agent.policy_mean(observation, index)
        if set(wanted) - {"mean"}:
            repeats = [
                self._search(observation, index, generator) for _ in range(self.config.repeats)
            ]
            found |= {name: np.mean([row[name] for row in repeats], 0) for name in repeats[0]}
        return {name: found[name] for name in wanted}

    def label(
        self, observation: np.ndarray, task: np.ndarray, generator: torch.Generator
    ) -> np.ndarray:
        """Return what to do [B, 19] in privileged observations [B, 51] of tasks [B]."""
        target = self.config.target
        return self.labels(observation, task, generator, (target,))[target]

    def _search(
        self, observation: np.ndarray, index: np.ndarray, generator: torch.Generator
    ) -> Labels:
        plan = self.agent.plan(observation, index, planner=self.planner, generator=generator)
        policy = self.agent.policy(observation, index)
        return search_labels(
            plan, self.planner.proposals, policy.mean.numpy(), policy.log_std.numpy()
        )

    def controllers(self, seed: int) -> dict[str, ActFunction]:
        """Return everything a student is compared with, by name, each freshly seeded.

        random: uniform in the action map; home: the constant home pose; mean: tanh(mu) without
        search; sampled: drawn from the policy; search: the agent's own settings; no_wide: the same
        without its wide candidates (where it has any); label: what the student is shown.
        """
        agent, index = self.agent, self.index
        proposals = agent.planner.proposals
        generator = torch.Generator().manual_seed(seed)

        def sampled(observation: np.ndarray, task: np.ndarray) -> np.ndarray:
            policy = agent.policy(observation, index[task])
            return sample(policy, 1, 1.0, generator)[:, 0].numpy()

        found: dict[str, ActFunction] = {
            **plain_controllers(agent.action_map, seed),
            "mean": lambda o, t: agent.policy_mean(o, index[t]),
            "sampled": sampled,
            "search": lambda o, t: agent.plan(o, index[t], generator=generator).action,
        }
        if proposals.wide and proposals.count > proposals.wide:
            lean = agent.with_search(proposals={"wide": 0})
            found["no_wide"] = lambda o, t: (
                agent.plan(o, index[t], planner=lean, generator=generator).action
            )
        found["label"] = lambda o, t: self.label(o, t, generator)
        return found

    def describe(self) -> dict[str, Any]:
        """Return what the card says of it."""
        return {
            "kind": "planner",
            **self.facts,
            "tasks": list(self.agent.tasks),
            "parameters": sum(x.numel() for x in self.agent.model.parameters()),
            "training": to_dict(self.agent.config) | {"out": "", "init": ""},
        }

    def decision_us(self) -> float:
        """Return microseconds per single decision of its own search, the median."""
        task = self.index[:1]
        return median_us(
            lambda: self.agent.plan(np.zeros((1, OBSERVATION_SIZE), np.float32), task), 20
        )

    def save(self, path: Path) -> None:
        """Write the weights in half precision."""
        facts = {
            **self.agent.facts,
            "git": self.facts["commit"],
            "full_precision_sha256": self.facts["sha256"],
        }
        config = dataclasses.replace(self.agent.config, out="", init="")  # no machine's folders
        save_agent(path, half_precision(self.agent.model.state_dict()), config, facts)


def plain_controllers(action_map: str, seed: int) -> dict[str, ActFunction]:
    """Return what needs no teacher: uniform actions, and the constant home pose."""
    random = np.random.default_rng(seed)
    home = np.clip(h1.action_map(action_map).action(h1.DEFAULT_POSE), -1, 1)
    return {
        "random": lambda o, t: random.uniform(-1.0, 1.0, (len(o), h1.NUM_JOINTS)),
        "home": lambda o, t: np.tile(home, (len(o), 1)),
    }


def median_us(call: Callable[[], object], calls: int) -> float:
    """Return the median duration of a call, microseconds."""
    times = []
    for _ in range(calls):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return round(float(np.median(times)) * 1e6, 1)


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
