"""What one search can teach: every label of a visited state, from the same candidates.

The names are those of `label.target`; T1 .. T6 are the candidates of the notes on distillation:
best T1, weighted T2, narrow (T2 without wide candidates), corrected T3, survivors T4, gaussian T5
(`weighted`, fitted with the spread of the candidates), mean (the policy, no search). T6, the
search's value, is no target of its own but a second output to be fitted, `fit.value`.
"""

from __future__ import annotations

import numpy as np

from training.agent import Plan
from training.config import ProposalConfig

SEARCHED = ("best", "weighted", "narrow", "corrected", "survivors", "gaussian")
TARGETS = (*SEARCHED, "mean")
SURVIVORS = 4  # of T4: averaged over so many most visited candidates


def search_labels(
    plan: Plan, proposals: ProposalConfig, mean: np.ndarray, log_std: np.ndarray
) -> dict[str, np.ndarray]:
    """Return every label of B searched states: actions [B, A], `std` [B, A], `value` [B].

    mean, log_std [B, A]: the policy before tanh, which proposed the candidates.
    """
    everything = np.ones(proposals.count, bool)
    kind = kinds(proposals)
    sampled = np.isin(kind, ("narrow", "wide"))
    ratio = np.where(sampled, _log_ratio(plan.candidates, proposals, mean, log_std), -np.inf)
    weighted, std = moments(plan.candidates, plan.scores, everything)
    # Most visited first; the score decides among equals (it is far below one visit's worth).
    order = plan.visits + 1e-3 * plan.scores / (1.0 + np.abs(plan.scores).max(-1, keepdims=True))
    kept = _largest(order, min(SURVIVORS, proposals.count))
    near = np.isin(kind, ("mean", "narrow"))
    return {
        "best": plan.action,
        "weighted": weighted,
        "narrow": moments(plan.candidates, plan.scores, near if near.any() else everything)[0],
        "corrected": moments(plan.candidates, plan.scores + ratio, sampled)[0]
        if sampled.any()
        else weighted,
        "survivors": moments(plan.candidates, plan.scores, kept)[0],
        "gaussian": weighted,
        "std": std,
        "value": plan.value,
    }


def kinds(proposals: ProposalConfig) -> np.ndarray:
    """Return what each candidate [K] is: mean, narrow, wide or gradient, in the planner's order."""
    names = ("mean", "narrow", "wide", "gradient")
    return np.repeat(names, [getattr(proposals, name) for name in names])


def moments(
    candidates: np.ndarray, scores: np.ndarray, kept: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and spread [B, A] of candidates [B, K, A] under softmax(scores [B, K]).

    kept [K] or [B, K]: only these take part.
    """
    scores = np.where(kept, scores, -np.inf)
    weight = np.exp(scores - scores.max(-1, keepdims=True))
    weight = weight / weight.sum(-1, keepdims=True)
    mean = np.einsum("bk,bka->ba", weight, candidates)
    square = np.einsum("bk,bka->ba", weight, (candidates - mean[:, None]) ** 2)
    return mean.astype(np.float32), np.sqrt(square).astype(np.float32)


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """Return which of values [B, K] are among the `count` largest of their row."""
    rank = np.argsort(np.argsort(-values, axis=-1, kind="stable"), axis=-1, kind="stable")
    return rank < count


def _log_ratio(
    candidates: np.ndarray, proposals: ProposalConfig, mean: np.ndarray, log_std: np.ndarray
) -> np.ndarray:
    """Return log pi / beta [B, K]; beta: the mixture of narrow and wide that was drawn from.

    Densities of u = atanh(a); the tanh's Jacobian is the same in both and cancels.
    """
    u = np.arctanh(np.clip(candidates.astype(np.float64), -0.999, 0.999))
    square = (((u - mean[:, None]) / np.exp(log_std)[:, None]) ** 2).sum(-1)
    scale, size = proposals.wide_scale, candidates.shape[-1]
    narrow = -0.5 * square
    wide = -0.5 * square / scale**2 - size * np.log(scale)
    total = max(1, proposals.narrow + proposals.wide)
    with np.errstate(divide="ignore"):
        share = np.log(np.array([proposals.narrow, proposals.wide]) / total)
    return narrow - np.logaddexp(share[0] + narrow, share[1] + wide)
