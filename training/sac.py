"""Soft actor-critic for several tasks at once: two layer-normed critics, one temperature per task.

Source: Haarnoja et al. 2018; layer-normed critics as in Ball et al. 2023. It is here as a cheap
model-free demonstrator and baseline, see `training.demonstrator`.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.shared_replay import Samples

LOG_STD_RANGE = (-5.0, 1.0)


@dataclass(frozen=True)
class SacConfig:
    """Sizes and rates."""

    width: int = 256
    actor_lr: float = 3e-4
    critic_lr: float = 5e-4
    alpha_lr: float = 3e-4
    target_rate: float = 0.005  # of the critics' moving average
    average_rate: float = 0.001  # of the actor's moving average, which is what is evaluated
    actor_every: int = 2  # critic updates
    initial_alpha: float = 0.05
    entropy_per_joint: float = -0.5  # target entropy, nats per joint


class Normalizer(nn.Module):
    """Running mean and variance of everything seen."""

    def __init__(self, size: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("square", torch.ones(size))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Take rows x [N, size] into account."""
        self.count += len(x)
        rate = float(len(x) / self.count)
        self.mean += rate * (x.mean(0) - self.mean)
        self.square += rate * ((x**2).mean(0) - self.square)

    def forward(self, x: Tensor) -> Tensor:
        std = (self.square - self.mean**2).clamp_min(1e-4).sqrt()
        return ((x - self.mean) / std).clamp(-8.0, 8.0)


class Actor(nn.Module):
    """Squashed Gaussian over actions."""

    def __init__(self, inputs: int, actions: int, width: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(inputs, width), nn.LayerNorm(width), nn.ReLU(),
            nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(width, 2 * actions)
        nn.init.uniform_(self.head.weight, -1e-3, 1e-3)
        nn.init.zeros_(self.head.bias)
        with torch.no_grad():
            self.head.bias[actions:] = -1.0

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log std before squashing, [B, A] each."""
        mean, log_std = self.head(self.body(x)).chunk(2, -1)
        return mean, log_std.clamp(*LOG_STD_RANGE)

    def sample(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return actions [B, A] in (-1, 1) and their log density [B]; noise [B, A] is N(0, 1)."""
        mean, log_std = self(x)
        u = mean + log_std.exp() * noise
        action = torch.tanh(u)
        log_density = -0.5 * noise**2 - log_std - 0.5 * math.log(2 * math.pi)
        log_density = log_density - 2.0 * (math.log(2.0) - u - functional.softplus(-2.0 * u))
        return action, log_density.sum(-1)


class Critics(nn.Module):
    """Two Q functions, evaluated as one batched matrix product."""

    def __init__(self, inputs: int, width: int):
        super().__init__()
        sizes = [(inputs, width), (width, width), (width, 1)]
        self.weight = nn.ParameterList()
        self.bias = nn.ParameterList()
        for fan_in, fan_out in sizes:
            bound = 1 / math.sqrt(fan_in)
            self.weight.append(
                nn.Parameter(torch.empty(2, fan_in, fan_out).uniform_(-bound, bound))
            )
            self.bias.append(nn.Parameter(torch.zeros(2, 1, fan_out)))

    def forward(self, x: Tensor) -> Tensor:
        """Return Q [2, B] of inputs [B, I]."""
        h = x.expand(2, *x.shape)
        for weight, bias in zip(self.weight[:2], self.bias[:2], strict=True):
            h = torch.baddbmm(bias, h, weight)
            h = functional.relu(functional.layer_norm(h, h.shape[-1:]))
        return torch.baddbmm(self.bias[2], h, self.weight[2]).squeeze(-1)


class Sac:
    """Networks, optimisers and the update."""

    def __init__(self, observation: int, actions: int, tasks: int, config: SacConfig):
        self.config, self.tasks, self.actions = config, tasks, actions
        self.normalizer = Normalizer(observation)
        self.actor = Actor(observation + tasks, actions, config.width)
        self.average = copy.deepcopy(self.actor).requires_grad_(False)
        self.critics = Critics(observation + tasks + actions, config.width)
        self.target = copy.deepcopy(self.critics).requires_grad_(False)
        self.log_alpha = nn.Parameter(torch.full((tasks,), math.log(config.initial_alpha)))
        self.optimizers = {
            "actor": torch.optim.Adam(self.actor.parameters(), lr=config.actor_lr, fused=True),
            "critics": torch.optim.Adam(self.critics.parameters(), lr=config.critic_lr, fused=True),
            "alpha": torch.optim.Adam([self.log_alpha], lr=config.alpha_lr, betas=(0.5, 0.999)),
        }
        self.updates = 0

    def modules(self) -> dict[str, nn.Module]:
        """Everything with weights, by name."""
        return {
            "normalizer": self.normalizer, "actor": self.actor, "average": self.average,
            "critics": self.critics, "target": self.target,
        }  # fmt: skip

    def inputs(self, observation: Tensor, task: Tensor) -> Tensor:
        """Return normalised observations with the task's one-hot, [B, O + T]."""
        return torch.cat(
            [self.normalizer(observation), functional.one_hot(task, self.tasks).float()], -1
        )

    @torch.no_grad()
    def act(self, observation: Tensor, task: Tensor, generator: torch.Generator) -> Tensor:
        """Draw actions [B, A] of the acting policy."""
        noise = torch.randn(len(observation), self.actions, generator=generator)
        return self.actor.sample(self.inputs(observation, task), noise)[0]

    @torch.no_grad()
    def best(self, observation: Tensor, task: Tensor) -> Tensor:
        """Return the averaged policy's mean actions [B, A]."""
        return torch.tanh(self.average(self.inputs(observation, task))[0])

    def update(
        self, batch: Samples, generator: torch.Generator, smooth: float = 0.0
    ) -> dict[str, float]:
        """Take one step; return metrics, none where the actor is not updated.

        `smooth` weighs |mean(s) - mean(s')|^2 in the actor's loss (CAPS, Mysore et al. 2021).
        """
        task = torch.from_numpy(batch.task)
        now = self.inputs(torch.from_numpy(batch.observation), task)
        action = torch.from_numpy(batch.action)
        with torch.no_grad():
            after = self.inputs(torch.from_numpy(batch.next_observation), task)
            noise = torch.randn(action.shape, generator=generator)
            next_action, density = self.actor.sample(after, noise)
            alpha = self.log_alpha.exp()[task]
            q = self.target(torch.cat([after, next_action], -1)).min(0).values
            goal = torch.from_numpy(batch.reward)
            goal = goal + torch.from_numpy(batch.next_discount) * (q - alpha * density)
        predicted = self.critics(torch.cat([now, action], -1))
        loss = 0.5 * ((predicted - goal) ** 2).mean(1).sum()
        self._step("critics", loss)
        pairs = zip(self.target.parameters(), self.critics.parameters(), strict=True)
        _follow(pairs, self.config.target_rate)
        self.updates += 1
        if self.updates % self.config.actor_every:
            return {}
        return self._update_actor(now, after, task, alpha, generator, smooth) | {
            "critic_loss": float(loss.detach()), "q": float(goal.mean()),
        }  # fmt: skip

    def _update_actor(
        self,
        now: Tensor,
        after: Tensor,
        task: Tensor,
        alpha: Tensor,
        generator: torch.Generator,
        smooth: float,
    ) -> dict[str, float]:
        noise = torch.randn(len(now), self.actions, generator=generator)
        action, density = self.actor.sample(now, noise)
        self.critics.requires_grad_(False)
        q = self.critics(torch.cat([now, action], -1)).min(0).values
        loss = (alpha * density - q).mean()
        jump = torch.zeros(())
        if smooth:
            mean, following = (torch.tanh(self.actor(x)[0]) for x in (now, after))
            jump = ((mean - following) ** 2).sum(-1).mean()
        self._step("actor", loss + smooth * jump)
        self.critics.requires_grad_(True)
        wanted = self.config.entropy_per_joint * self.actions
        surplus = -density.detach() - wanted
        self._step("alpha", (self.log_alpha[task] * surplus).mean())
        _follow(
            zip(self.average.parameters(), self.actor.parameters(), strict=True),
            self.config.average_rate * self.config.actor_every,
        )
        return {
            "entropy": -float(density.detach().mean()),
            "alpha": float(alpha.mean()),
            "jump": float(jump.detach()),
        }

    def _step(self, name: str, loss: Tensor) -> None:
        optimizer = self.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


@torch.no_grad()
def _follow(pairs, rate: float) -> None:
    """average <- average + rate (value - average), for pairs (average, value)."""
    averages, values = zip(*pairs, strict=True)
    torch._foreach_lerp_(list(averages), [v.data for v in values], rate)  # pyright: ignore[reportPrivateImportUsage]
