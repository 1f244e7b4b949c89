"""The student's network: a small MLP with its normaliser inside."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from distill.config import StudentConfig
from runtime.spec import PolicySpec, spec_for_h1

ACTIVATIONS: dict[str, type[nn.Module]] = {"elu": nn.ELU, "relu": nn.ReLU}
STD_FLOOR = 0.02  # of a normalised input, so that what hardly moves is not blown up


class Student(nn.Module):
    """Map observations [B, N] to actions [B, 19] in [-1, 1]."""

    mean: Tensor  # [N]
    std: Tensor  # [N]

    def __init__(self, size: int, actions: int, config: StudentConfig):
        super().__init__()
        self.clip = config.clip
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))
        layers: list[nn.Module] = []
        for inner, outer in pairwise((size, *config.hidden)):
            layers.append(nn.Linear(inner, outer))
            layers += [nn.LayerNorm(outer)] if config.layer_norm else []
            layers.append(ACTIVATIONS[config.activation]())
        last = nn.Linear((size, *config.hidden)[-1], actions)
        nn.init.normal_(last.weight, std=0.01)
        nn.init.zeros_(last.bias)
        self.net = nn.Sequential(*layers, last, nn.Tanh())

    def forward(self, observation: Tensor) -> Tensor:
        scaled = (observation - self.mean) / self.std
        return self.net(scaled.clamp(-self.clip, self.clip))

    def normalise(self, observations: Tensor) -> None:
        """Take the normaliser from observations [M, N]."""
        self.mean.copy_(observations.mean(0))
        self.std.copy_(observations.std(0).clamp_min(STD_FLOOR))

    @torch.no_grad()
    def infer(self, observation: np.ndarray) -> np.ndarray:
        """Return the actions [B, 19] for float32 observations [B, N]."""
        return self(torch.from_numpy(observation)).numpy()


def make_spec(
    name: str, tasks: tuple[str, ...], action_map: str, config: StudentConfig
) -> PolicySpec:
    """Return the contract of a student: what it sees (nothing `sim_only`) and what it drives."""
    return spec_for_h1(name, tasks, action_map, history=config.history)


def make_student(spec: PolicySpec, config: StudentConfig, seed: int) -> Student:
    """Return an untrained student for a spec, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Student(spec.observation_size, len(spec.joint_names), config)
