"""The tanh-Gaussian policy in pure functions (EZ-M release, "tdmpc2" type); knows no network."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

ACTION_LIMIT = 0.999  # |a| after tanh, so that atanh stays finite


@dataclass(frozen=True)
class Gaussian:
    """A diagonal Gaussian before tanh."""

    mean: Tensor  # [..., A]
    log_std: Tensor  # [..., A]

    def __getitem__(self, index) -> "Gaussian":
        return Gaussian(self.mean[index], self.log_std[index])


def gaussian(raw: Tensor, mask: Tensor, log_std_range: tuple[float, float]) -> Gaussian:
    """Split raw outputs [..., 2A] into mean and log-std; masked dimensions get mean 0, raw 0.

    log sigma = low + (high - low) / 2 (tanh(x) + 1); low == high makes sigma a constant.
    """
    mean, x = (raw.float().unflatten(-1, (2, -1)) * mask.unsqueeze(-2)).unbind(-2)
    low, high = log_std_range
    return Gaussian(mean, low + 0.5 * (high - low) * (torch.tanh(x) + 1.0))


def squash(u: Tensor) -> Tensor:
    """Return tanh(u), clipped so that it can be inverted."""
    return torch.tanh(u).clamp(-ACTION_LIMIT, ACTION_LIMIT)


def sample(policy: Gaussian, count: int, scale: float, generator: torch.Generator | None) -> Tensor:
    """Draw `count` actions with sigma times `scale`: [..., A] -> [..., count, A]."""
    shape = (*policy.mean.shape[:-1], count, policy.mean.shape[-1])
    noise = torch.randn(shape, generator=generator, device=policy.mean.device)
    std = scale * policy.log_std.exp().unsqueeze(-2)
    return squash(policy.mean.unsqueeze(-2) + std * noise)


def log_prob(policy: Gaussian, action: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return log pi(action) [...], summed over the unmasked dimensions of action [..., A]."""
    action = action.clamp(-ACTION_LIMIT, ACTION_LIMIT)
    eps = (torch.atanh(action) - policy.mean) / (policy.log_std.exp() + 1e-6)
    normal = -0.5 * eps**2 - policy.log_std - 0.5 * math.log(2.0 * math.pi)
    per_dim = normal - torch.log(1.0 - action**2 + 1e-6)
    return (per_dim if mask is None else per_dim * mask).sum(-1)


def entropy_term(policy: Gaussian, generator: torch.Generator | None = None) -> Tensor:
    """Return a one-sample estimate of the entropy of the squashed policy, [...]."""
    noise = torch.randn(policy.mean.shape, generator=generator, device=policy.mean.device)
    u = policy.mean + policy.log_std.exp() * noise
    log_normal = -0.5 * noise**2 - policy.log_std - 0.5 * math.log(2.0 * math.pi)
    return -(log_normal - torch.log(1.0 - torch.tanh(u) ** 2 + 1e-6)).sum(-1)
