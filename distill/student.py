"""The student's network: a small MLP with its normaliser inside."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from distill.config import StudentConfig
from distill.symmetry import Mirror
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

    def hidden(self, observation: Tensor) -> Tensor:
        """Return the last hidden layer [B, H], on which further outputs can be fitted."""
        scaled = (observation - self.mean) / self.std
        return self.net[:-2](scaled.clamp(-self.clip, self.clip))

    def normalise(self, observations: Tensor, mirror: Mirror | None = None) -> None:
        """Take the normaliser from observations [M, N], with `mirror` also from their images."""
        mean, std = observations.mean(0), observations.std(0)
        if mirror is not None:  # the moments of both halves together
            image, square = mirror.observation(mean), std**2 + mean**2
            both = (mean + image) / 2
            std = ((square + square[mirror.index]) / 2 - both**2).clamp_min(0.0).sqrt()
            mean = both
        self.mean.copy_(mean)
        self.std.copy_(std.clamp_min(STD_FLOOR))

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
