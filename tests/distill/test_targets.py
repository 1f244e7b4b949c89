"""The labels of one search, each against a closed form or a plain loop."""

import numpy as np
import torch
from torch.distributions import Normal

from distill.targets import kinds, moments, search_labels
from training.agent import Plan
from training.config import ProposalConfig

PROPOSALS = ProposalConfig(mean=1, narrow=3, wide=2, gradient=1)


def plan(seed: int = 0, actions: int = 4) -> tuple[Plan, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    mean, log_std = random.normal(size=(2, actions)) * 0.3, np.full((2, actions), -1.0)
    candidates = np.tanh(mean[:, None] + 0.3 * random.normal(size=(2, 7, actions)))
    scores = random.uniform(0, 5, (2, 7)).astype(np.float32)
    visits = np.array([[1, 4, 4, 1, 2, 1, 3]] * 2, np.float32)
    best = candidates[np.arange(2), scores.argmax(1)]
    found = Plan(best, np.array([1.0, 2.0]), candidates, scores, scores, visits)
    return found, mean, log_std


def test_candidates_are_told_apart_in_the_planners_order():
    assert kinds(PROPOSALS).tolist() == ["mean", *["narrow"] * 3, *["wide"] * 2, "gradient"]


def test_weighted_is_the_softmax_mean_and_its_spread_the_weighted_deviation():
    given, mean, log_std = plan()
    labels = search_labels(given, PROPOSALS, mean, log_std)
    weight = torch.softmax(torch.from_numpy(given.scores).double(), -1).numpy()
    for row in range(2):
        expected = np.average(given.candidates[row], axis=0, weights=weight[row])
        spread = np.average((given.candidates[row] - expected) ** 2, axis=0, weights=weight[row])
        np.testing.assert_allclose(labels["weighted"][row], expected, atol=1e-6)
        np.testing.assert_allclose(labels["std"][row], np.sqrt(spread), atol=1e-6)


def test_narrow_looks_at_the_mean_and_the_narrow_samples_only():
    given, mean, log_std = plan()
    labels = search_labels(given, PROPOSALS, mean, log_std)
    few = moments(given.candidates[:, :4], given.scores[:, :4], np.ones(4, bool))[0]
    np.testing.assert_allclose(labels["narrow"], few, atol=1e-6)


def test_survivors_are_the_four_most_visited():
    given, mean, log_std = plan()
    labels = search_labels(given, PROPOSALS, mean, log_std)
    kept = [1, 2, 6, 4]
    few = moments(given.candidates[:, kept], given.scores[:, kept], np.ones(4, bool))[0]
    np.testing.assert_allclose(labels["survivors"], few, atol=1e-6)


def test_corrected_divides_by_the_mixture_the_samples_were_drawn_from():
    """Oracle: two normal densities of torch, mixed, in u = atanh(a)."""
    given, mean, log_std = plan()
    labels = search_labels(given, PROPOSALS, mean, log_std)
    sampled = slice(1, 6)
    u = torch.atanh(torch.from_numpy(given.candidates[:, sampled]))
    centre, sigma = torch.from_numpy(mean)[:, None], torch.from_numpy(log_std).exp()[:, None]
    narrow = Normal(centre, sigma).log_prob(u).sum(-1)
    wide = Normal(centre, 3 * sigma).log_prob(u).sum(-1)
    share = torch.tensor([3 / 5, 2 / 5], dtype=torch.float64).log()
    beta = torch.logsumexp(torch.stack([narrow + share[0], wide + share[1]]), 0)
    weight = torch.softmax(narrow - beta + torch.from_numpy(given.scores[:, sampled]), -1)
    expected = (weight[..., None] * torch.from_numpy(given.candidates[:, sampled])).sum(1)
    np.testing.assert_allclose(labels["corrected"], expected, atol=1e-6)
