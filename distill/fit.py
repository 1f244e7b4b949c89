"""Fit a student to labelled states: regression in action space.

Beside the action, all optional: mirror images, a penalty on the change of action between one step
and the next, the spread of the planner's candidates (T5) and the search's value (T6), the last two
as further outputs of the last hidden layer that are thrown away after the fit.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from distill.config import FitConfig
from distill.rollouts import Chunk
from distill.student import Student
from distill.symmetry import Mirror

LOG_STD_RANGE = (-4.0, 0.0)  # of the fitted spread, T5


@dataclass(frozen=True)
class Dataset:
    """Aggregated rounds, in memory."""

    observation: Tensor  # [M, N]
    action: Tensor  # [M, 19]
    task: Tensor  # [M]
    following: Tensor  # [M] where the same episode's next step lies; itself if there is none
    train: Tensor  # indices into M
    held: Tensor  # indices into M, of other episodes
    std: Tensor | None = None  # [M, 19] spread of the candidates
    value: Tensor | None = None  # [M] of the search

    @classmethod
    def of(cls, chunks: Sequence[Chunk], capacity: int, wanted: Sequence[str]) -> Dataset:
        """Join rounds and keep the newest `capacity` states; `wanted`: labels, the action first."""
        total = sum(len(chunk.task) for chunk in chunks)
        first = max(0, total - capacity)

        def joined(parts: Sequence) -> Tensor:
            return torch.cat([torch.from_numpy(part) for part in parts])[first:]

        held = joined([chunk.held for chunk in chunks])
        step = joined([chunk.lasting * chunk.rows for chunk in chunks])
        extra = {
            name: joined([chunk.labels[name] for chunk in chunks])
            for name in ("std", "value")
            if name in wanted
        }
        return cls(
            joined([chunk.observation for chunk in chunks]),
            joined([chunk.labels[wanted[0]] for chunk in chunks]),
            joined([chunk.task for chunk in chunks]),
            following=torch.arange(len(step)) + step,
            train=(~held).nonzero().squeeze(1),
            held=held.nonzero().squeeze(1),
            **extra,
        )

    def columns(self, index: Tensor) -> Dataset:
        """Return the same states as a student sees them that looks at these inputs only."""
        return dataclasses.replace(self, observation=self.observation[:, index])


class Losses(nn.Module):
    """What is minimised, with the outputs that only the fit needs."""

    def __init__(self, student: Student, data: Dataset, config: FitConfig, mirror: Mirror | None):
        super().__init__()
        self.student, self.data, self.config, self.mirror = student, data, config, mirror
        outputs, inputs = student.net[-2].get_parameter("weight").shape
        self.log_std = nn.Linear(inputs, outputs)
        self.value = nn.Linear(inputs, 1)
        self.criterion = loss_function(config)
        if data.value is not None:
            kept = data.value[data.train]
            self.centre, self.scale = kept.mean(), kept.std().clamp_min(1e-3)

    def forward(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return the loss of these rows [B] of the data."""
        data, config = self.data, self.config
        observation, action = data.observation[rows], data.action[rows]
        std = data.std[rows] if data.std is not None else None
        following = data.observation[data.following[rows]] if config.smooth else None
        if self.mirror is not None:
            turn = torch.rand(len(rows), generator=generator) < 0.5
            turn = (turn & self.mirror.tasks[data.task[rows]]).unsqueeze(1)
            observation = torch.where(turn, self.mirror.observation(observation), observation)
            action = torch.where(turn, self.mirror.action(action), action)
            if following is not None:
                following = torch.where(turn, self.mirror.observation(following), following)
            if std is not None:
                std = torch.where(turn, self.mirror.spread(std), std)
        hidden = self.student.hidden(observation)
        mean = self.student.net[-2:](hidden)
        loss = self.criterion(mean, action)
        if std is not None:
            loss = self._divergence(mean, hidden, action, std)
        if following is not None:
            loss = loss + config.smooth * (self.student(following) - mean).square().mean()
        if config.value and data.value is not None:
            wanted = (data.value[rows] - self.centre) / self.scale
            error = functional.huber_loss(self.value(hidden).squeeze(1), wanted)
            loss = loss + config.value * error
        return loss

    def _divergence(self, mean: Tensor, hidden: Tensor, action: Tensor, std: Tensor) -> Tensor:
        """Return KL(N(action, std) || N(mean, fitted spread)) up to a constant, per dimension."""
        log_std = self.log_std(hidden).clamp(*LOG_STD_RANGE)
        square = (mean - action).square() + std.square()
        return (0.5 * square / (2.0 * log_std).exp() + log_std).mean()


def fit(
    student: Student,
    data: Dataset,
    config: FitConfig,
    updates: int,
    seed: int,
    mirror: Mirror | None = None,
) -> dict[str, float]:
    """Train in place for `updates` minibatches; return the losses.

    The rows of a round are balanced over tasks, so uniform minibatches are too. `mirror`: used if
    the configuration says so.
    """
    generator = torch.Generator().manual_seed(seed)
    mirror = mirror if config.mirror else None
    whole = mirror if mirror is not None and bool(mirror.tasks.all()) else None
    student.normalise(data.observation[data.train], whole)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        losses = Losses(student, data, config, mirror)
    optimizer = torch.optim.AdamW(
        losses.parameters(), lr=config.lr, weight_decay=config.weight_decay
    )
    total = 0.0
    student.train()
    for update in range(updates):
        for group in optimizer.param_groups:
            group["lr"] = config.lr * cosine(update / updates)
        pick = torch.randint(len(data.train), (config.batch,), generator=generator)
        loss = losses(data.train[pick], generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(losses.parameters(), 1.0)
        optimizer.step()
        if update >= 0.9 * updates:
            total += loss.item() / (updates - math.ceil(0.9 * updates))
    student.eval()
    return {"fit_loss": total, **validate(student, data)}


@torch.no_grad()
def validate(student: Student, data: Dataset) -> dict[str, float]:
    """Return the root-mean-square error on held-out episodes, per task, in units of action."""
    if not len(data.held):
        return {}
    error = (student(data.observation[data.held]) - data.action[data.held]).square().mean(1)
    task = data.task[data.held]
    return {f"held_rms/{i}": error[task == i].mean().sqrt().item() for i in task.unique().tolist()}


def loss_function(config: FitConfig) -> nn.Module:
    """Return the loss over batches of actions."""
    return nn.HuberLoss(delta=config.huber) if config.loss == "huber" else nn.MSELoss()


def cosine(progress: float) -> float:
    """Return the learning rate's factor: 1 at progress 0, 0.01 at 1."""
    return 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * progress))
