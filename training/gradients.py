"""What tasks do to each other: losses by task, and angles between their gradients.

A cosine near 1 between two tasks' gradients of a shared network says that a step for one helps the
other, near -1 that they fight (EZ-M compares the shared modules in this way). Reads the graph of
an update that is under way and changes nothing in it. Knows no environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

# shared parts of `WorldModel`; task embeddings are not shared, the projector serves learning only
MODULES = {
    "representation": ("encoder",),
    "dynamics": ("dynamics",),
    "reward": ("action_embedding", "reward_trunk", "reward_head"),
    "value_policy": ("trunk", "value_head", "policy_head"),
}


def mean_by_task(values: Tensor, task: Tensor, tasks: int) -> Tensor:
    """Return the mean of values [B] over the rows of each task [T]; nan where a task has none."""
    sums = torch.zeros(tasks, dtype=values.dtype, device=values.device)
    counts = torch.zeros_like(sums)
    sums.index_add_(0, task, values)
    counts.index_add_(0, task, torch.ones_like(values))
    return sums / counts


def task_gradients(
    model: nn.Module, loss: Tensor, task: Tensor, tasks: int
) -> dict[str, dict[int, Tensor]]:
    """Return by module the gradient [P] of each task's share of the mean of loss [B].

    Only tasks with rows in the batch. The graph of `loss` stays usable. Over the tasks the
    gradients of a module sum to its gradient of loss.mean().
    """
    parts = {
        name: [p for attribute in attributes for p in getattr(model, attribute).parameters()]
        for name, attributes in MODULES.items()
    }
    every = [p for parameters in parts.values() for p in parameters]
    found: dict[str, dict[int, Tensor]] = {name: {} for name in parts}
    for index in range(tasks):
        mine = task == index
        if not bool(mine.any()):
            continue
        share = torch.where(mine, loss, 0.0).sum() / len(loss)
        grads = torch.autograd.grad(share, every, retain_graph=True, allow_unused=True)
        flat = [
            (torch.zeros_like(p) if g is None else g).flatten()
            for p, g in zip(every, grads, strict=True)
        ]
        start = 0
        for name, parameters in parts.items():
            found[name][index] = torch.cat(flat[start : start + len(parameters)])
            start += len(parameters)
    return found


def cosines(model: nn.Module, loss: Tensor, task: Tensor, names: Sequence[str]) -> dict[str, float]:
    """Return `cosine/<module>` (mean over pairs) and `cosine/<module>/<a>|<b>` of every pair."""
    facts: dict[str, float] = {}
    for module, gradients in task_gradients(model, loss, task, len(names)).items():
        angles = []
        for (a, one), (b, other) in combinations(gradients.items(), 2):
            angle = float(nn.functional.cosine_similarity(one.float(), other.float(), dim=0))
            facts[f"cosine/{module}/{names[a]}|{names[b]}"] = angle
            angles.append(angle)
        if angles:
            facts[f"cosine/{module}"] = sum(angles) / len(angles)
    return facts
