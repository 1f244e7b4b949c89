"""The trained agent: acting weights, planning, and the policy without search."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from training import language
from training.checkpoint import CheckpointError, load_agent
from training.config import TrainConfig
from training.features import see, view_size
from training.planner import PlannerConfig, plan
from training.policy_head import Gaussian, squash
from training.world_model import WorldModel

OBSERVATION_SIZE = 51  # HumanoidBench's H1 without hands or things: qpos 26 + qvel 25
ACTION_SIZE = 19


@dataclass(frozen=True)
class Plan:
    """What the planner decided, for B observations."""

    action: np.ndarray  # [B, A] float32 in [-1, 1] of the agent's action map
    value: np.ndarray  # [B] search value
    candidates: np.ndarray  # [B, K, A]
    scores: np.ndarray  # [B, K]; softmax of a row is the improved policy
    q: np.ndarray  # [B, K] completed Q
    visits: np.ndarray  # [B, K]


def build_model(
    config: TrainConfig,
    observation: int | None = None,
    action: int = ACTION_SIZE,
    phrases: torch.Tensor | None = None,
) -> WorldModel:
    """Return an untrained model for the tasks of a configuration.

    `observation` follows of the tasks, `phrases` (what tells them) of `config.language`.
    """
    size = observation or view_size(config.collect.observation, config.tasks)
    if phrases is None and config.language:
        phrases = language.read(Path(config.language), config.tasks).known
    return WorldModel(config.model, size, [action] * len(config.tasks), phrases)


class Agent:
    """Acting weights in eval mode, for planning and for the policy without search."""

    def __init__(self, model: WorldModel, config: TrainConfig, facts: dict[str, str]):
        self.model = model.eval().requires_grad_(False)
        self.config, self.facts = config, facts
        self.tasks, self.action_map = config.tasks, config.collect.action_map
        self.observation_size = model.get_buffer("obs_norm.mean").shape[0]
        self.planner = PlannerConfig.of(config.search, config.proposals, config.targets)
        self.device = model.get_buffer("action_mask").device
        self.generator = torch.Generator(self.device).manual_seed(config.seed)

    @classmethod
    def load(cls, path: str | Path) -> Agent:
        """Load from a run folder, a checkpoint folder or an agent.safetensors file.

        Raises:
            CheckpointError: there is nothing, or its tensors do not fit its configuration.
        """
        weights, config, facts = load_agent(Path(path))
        try:  # the sizes are the weights' own: another suite's may differ from H1Env's
            observation, action = len(weights["obs_norm.mean"]), weights["action_mask"].shape[1]
            phrases = weights.get("task_embedding.phrases")  # the file is not needed any more
            model = build_model(config, observation, action, phrases)
            model.load_state_dict(weights)
        except (KeyError, RuntimeError) as error:
            raise CheckpointError(
                f"the weights in {path} do not fit its configuration: {error}"
            ) from None
        return cls(model, config, facts)

    def task_index(self, name: str) -> int:
        """Return the index of a task; the error lists what the agent knows."""
        if name not in self.tasks:
            raise ValueError(f"this agent was trained on {list(self.tasks)}, not on {name!r}")
        return self.tasks.index(name)

    def with_search(self, *, proposals: dict | None = None, **search) -> PlannerConfig:
        """Return the planner's settings with some replaced, e.g. simulations=32."""
        return dataclasses.replace(
            self.planner,
            search=dataclasses.replace(self.planner.search, **search),
            proposals=dataclasses.replace(self.planner.proposals, **(proposals or {})),
        )

    def plan(
        self,
        observation: np.ndarray,
        task: np.ndarray,
        *,
        planner: PlannerConfig | None = None,
        generator: torch.Generator | None = None,
    ) -> Plan:
        """Search from observations [B, O] (HumanoidBench's layout, padded or not) of tasks [B]."""
        result = plan(
            self.model,
            self._padded(observation),
            torch.as_tensor(task, dtype=torch.long, device=self.device),
            planner or self.planner,
            generator or self.generator,
        )
        return Plan(
            action=result.action.cpu().numpy(),
            value=result.value.cpu().numpy(),
            candidates=result.actions.cpu().numpy(),
            scores=result.score.cpu().numpy(),
            q=result.q.cpu().numpy(),
            visits=result.visits.cpu().numpy(),
        )

    @torch.no_grad()
    def policy_mean(self, observation: np.ndarray, task: np.ndarray) -> np.ndarray:
        """Return tanh(mu) [B, A], the policy without search."""
        return squash(self.policy(observation, task).mean).cpu().numpy()

    @torch.no_grad()
    def policy(self, observation: np.ndarray, task: np.ndarray) -> Gaussian:
        """Return the policy before tanh: mean and log of sigma, each [B, A]."""
        tasks = torch.as_tensor(task, dtype=torch.long, device=self.device)
        e = self.model.embed(tasks)
        state = self.model.encode(self._padded(observation), e)
        return self.model.policy(self.model.features(state, e), tasks)

    def _padded(self, observation: np.ndarray) -> torch.Tensor:
        """Return observations in the agent's view, with zeros behind as for its longest task."""
        seen = see(self.config.collect.observation, np.asarray(observation))
        given = torch.as_tensor(seen, dtype=torch.float32, device=self.device)
        return torch.nn.functional.pad(given, (0, self.observation_size - given.shape[-1]))
