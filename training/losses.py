"""Losses as pure functions of tensors; know no network. Coefficients: EZ-M, spec §5."""

import torch
from torch import Tensor


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return -sum_j target_j log softmax(logits)_j over the last axis."""
    return -(target * torch.log_softmax(logits.float(), dim=-1)).sum(-1)


def ensemble_cross_entropy(logits: Tensor, target: Tensor, weight: float) -> Tensor:
    """Return the mean over heads of weight x CE: logits [..., H, bins], target [..., bins]."""
    return weight * cross_entropy(logits, target.unsqueeze(-2)).mean(-1)


def negative_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """Return -cos(prediction, target) over the last axis; the target gets no gradient."""
    return -torch.nn.functional.cosine_similarity(prediction.float(), target.detach().float(), -1)


def masked_sum(per_step: Tensor, mask: Tensor) -> Tensor:
    """Sum [B, K] over steps where mask [B, K] holds: [B]."""
    return (per_step * mask).sum(1)


def halve_gradient(x: Tensor) -> Tensor:
    """Return x; its gradient is multiplied by one half."""
    return x * 0.5 + x.detach() * 0.5
