"""Fit a student to labelled states: regression in action space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from distill.config import FitConfig
from distill.rollouts import Chunk
from distill.student import Student


@dataclass(frozen=True)
class Dataset:
    """Aggregated rounds, in memory."""

    observation: Tensor  # [M, N]
    action: Tensor  # [M, 19]
    task: Tensor  # [M]
    train: Tensor  # indices into M
    held: Tensor  # indices into M, of other episodes

    @classmethod
    def of(cls, chunks: Sequence[Chunk], capacity: int) -> Dataset:
        """Join rounds and keep the newest `capacity` states."""
        held = torch.cat([torch.from_numpy(chunk.held) for chunk in chunks])[-capacity:]
        return cls(
            torch.cat([torch.from_numpy(chunk.observation) for chunk in chunks])[-capacity:],
            torch.cat([torch.from_numpy(chunk.action) for chunk in chunks])[-capacity:],
            torch.cat([torch.from_numpy(chunk.task) for chunk in chunks])[-capacity:],
            train=(~held).nonzero().squeeze(1),
            held=held.nonzero().squeeze(1),
        )


def fit(
    student: Student, data: Dataset, config: FitConfig, updates: int, seed: int
) -> dict[str, float]:
    """Train in place for `updates` minibatches; return the losses.

    The rows of a round are balanced over tasks, so uniform minibatches are too.
    """
    generator = torch.Generator().manual_seed(seed)
    student.normalise(data.observation[data.train])
    optimizer = torch.optim.AdamW(
        student.parameters(), lr=config.lr, weight_decay=config.weight_decay
    )
    criterion = loss_function(config)
    total = 0.0
    student.train()
    for update in range(updates):
        for group in optimizer.param_groups:
            group["lr"] = config.lr * cosine(update / updates)
        pick = torch.randint(len(data.train), (config.batch,), generator=generator)
        rows = data.train[pick]
        loss = criterion(student(data.observation[rows]), data.action[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
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
