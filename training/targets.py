"""Value targets as pure functions; know no network and no buffer."""

import torch
from torch import Tensor


def bootstrap_index(final: Tensor, positions: int, steps: int | Tensor) -> Tensor:
    """Return the frame from which each position bootstraps, [B, positions].

    Args:
        final: [B] index of the last frame of the episode within the window (window size - 1 if
            the episode goes on).
        positions: number of unroll positions, U + 1.
        steps: n of the n-step return; [B, 1] if it differs from window to window.
    """
    start = torch.arange(positions, device=final.device)
    return torch.minimum(start + steps, final.unsqueeze(1)).maximum(start)


def n_step_return(reward: Tensor, index: Tensor, value: Tensor, discount: float) -> Tensor:
    """Return z_k = sum_{k <= j < index_k} discount^(j-k) r_j + discount^(index_k - k) value_k.

    Args:
        reward: [B, W] reward of the action taken at each frame.
        index: [B, P] bootstrap frames of positions 0..P-1.
        value: [B, P] value of those frames, 0 where they are terminal.
    """
    frames = torch.arange(reward.shape[1], device=reward.device)
    start = torch.arange(index.shape[1], device=reward.device)
    ahead = frames.view(1, 1, -1) - start.view(1, -1, 1)  # [1, P, W]
    inside = (ahead >= 0) & (frames.view(1, 1, -1) < index.unsqueeze(-1))
    weight = torch.where(inside, discount ** ahead.clamp_min(0).float(), 0.0)
    tail = discount ** (index - start).clamp_min(0).float() * value
    return (weight * reward.unsqueeze(1)).sum(-1) + tail


def mixed_value(
    td: Tensor, search: Tensor, updates: int, newest: Tensor, search_after: int
) -> Tensor:
    """Choose the TD target before `search_after` updates and for the newest data, else search's.

    Args:
        td, search: [B, P]; newest: [B] bool, the root is among the newest transitions.
    """
    if updates < search_after:
        return td
    return torch.where(newest.unsqueeze(1), td, search)
