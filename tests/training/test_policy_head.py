"""The tanh-Gaussian policy against torch.distributions and its own closed forms."""

import math

import pytest
import torch
from torch.distributions import Independent, Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from training.policy_head import ACTION_LIMIT, Gaussian, entropy_term, gaussian, log_prob, sample

PUBLISHED = (-10.0, 2.0)


def test_masked_dimensions_have_mean_0_and_log_sigma_minus_4():
    raw = torch.randn(5, 2 * 4)
    policy = gaussian(raw, torch.tensor([1.0, 1.0, 0.0, 0.0]), PUBLISHED)
    assert torch.all(policy.mean[:, 2:] == 0.0)
    assert torch.allclose(policy.log_std[:, 2:], torch.tensor(-4.0))
    assert torch.equal(policy.mean[:, :2], raw[:, :2])


def test_log_sigma_spans_the_published_range():
    raw = torch.tensor([[0.0, 0.0, -50.0, 50.0]])
    policy = gaussian(raw, torch.ones(2), PUBLISHED)
    assert policy.log_std.tolist() == [[-10.0, 2.0]]


def test_equal_ends_fix_sigma_and_give_it_no_gradient():
    raw = torch.randn(3, 8, requires_grad=True)
    policy = gaussian(raw, torch.ones(4), (-1.6, -1.6))
    assert torch.all(policy.log_std == -1.6)
    policy.log_std.sum().backward()
    assert torch.all(raw.grad == 0.0)


def test_log_prob_is_that_of_torchs_transformed_normal():
    mean, log_std = 0.5 * torch.randn(200, 3), torch.empty(200, 3).uniform_(-2.0, 0.0)
    action = torch.tanh(mean + log_std.exp() * torch.randn(200, 3)).clamp(-0.98, 0.98)
    base = Normal(mean.double(), log_std.exp().double())
    reference = Independent(TransformedDistribution(base, [TanhTransform()]), 1)
    ours = log_prob(Gaussian(mean, log_std), action)
    theirs = reference.log_prob(action.double()).float()
    assert torch.allclose(ours, theirs, atol=5e-3, rtol=1e-4)  # 1e-6 guards of the release


def test_log_prob_matches_to_1e_4_at_moderate_sigma():
    mean, log_std = torch.zeros(50, 4), torch.full((50, 4), -0.5)
    action = torch.empty(50, 4).uniform_(-0.9, 0.9)
    base = Normal(mean.double(), log_std.exp().double())
    reference = Independent(TransformedDistribution(base, [TanhTransform()]), 1)
    ours = log_prob(Gaussian(mean, log_std), action)
    assert torch.allclose(ours, reference.log_prob(action.double()).float(), atol=1e-4)


@pytest.mark.parametrize("sigma", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("mean", [-1.0, 0.0, 0.7])
def test_the_density_is_the_slope_of_its_distribution_up_to_an_action_of_0_99(mean, sigma):
    """P(a < x) = Phi((atanh x - mean) / sigma): its integral by quadrature, its slope to 1e-4."""
    action = torch.linspace(-0.99, 0.99, 20_001, dtype=torch.float64)
    policy = Gaussian(torch.full((20_001, 1), mean), torch.full((20_001, 1), math.log(sigma)))
    ours = log_prob(policy, action.float().unsqueeze(-1)).double()
    z = (torch.atanh(action) - mean) / sigma
    below = torch.special.ndtr(z)
    assert abs(torch.trapezoid(ours.exp(), action) - (below[-1] - below[0])) < 1e-4
    h = 1e-5
    up, down = (torch.special.ndtr((torch.atanh(action + s * h) - mean) / sigma) for s in (1, -1))
    likely = z.abs() < 4.0  # farther out the difference of two probabilities has no digits left
    slope = torch.log((up - down) / (2.0 * h))
    assert torch.allclose(ours[likely], slope[likely], atol=1e-4, rtol=0.0)
    exact = Normal(mean, sigma).log_prob(torch.atanh(action)) - torch.log(1.0 - action**2)
    assert torch.allclose(ours, exact, atol=1e-4, rtol=1e-5)  # log p is -100 and less there


def test_log_prob_leaves_masked_dimensions_out():
    policy = Gaussian(torch.zeros(1, 3), torch.full((1, 3), -1.0))
    action = torch.tensor([[0.3, -0.2, 0.9]])
    two = Gaussian(policy.mean[:, :2], policy.log_std[:, :2])
    masked = log_prob(policy, action, torch.tensor([[1.0, 1.0, 0.0]]))
    assert torch.allclose(masked, log_prob(two, action[:, :2]))


def test_the_likeliest_mean_is_the_actions_arctanh():
    mean = torch.zeros(1, 2, requires_grad=True)
    action = torch.tensor([[0.5, -0.25]])
    optimizer = torch.optim.SGD([mean], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        (-log_prob(Gaussian(mean, torch.full((1, 2), -1.0)), action).sum()).backward()
        optimizer.step()
    assert torch.allclose(mean, torch.atanh(action), atol=1e-3)


def test_samples_have_the_asked_for_spread_before_tanh_and_stay_inside_the_limit():
    policy = Gaussian(torch.full((1, 1), 0.3), torch.full((1, 1), math.log(0.1)))
    generator = torch.Generator().manual_seed(0)
    u = torch.atanh(sample(policy, 20_000, 3.0, generator))
    assert u.shape == (1, 20_000, 1)
    assert float(u.mean()) == pytest.approx(0.3, abs=0.01)
    assert float(u.std()) == pytest.approx(0.3, abs=0.01)
    wild = sample(Gaussian(torch.zeros(1, 1), torch.full((1, 1), 2.0)), 500, 3.0, generator)
    assert float(wild.abs().max()) <= ACTION_LIMIT + 1e-6


def test_samples_depend_on_nothing_but_the_generator():
    policy = Gaussian(torch.zeros(2, 3), torch.zeros(2, 3))
    draws = [sample(policy, 4, 1.0, torch.Generator().manual_seed(7)) for _ in range(2)]
    assert torch.equal(*draws)


def test_the_entropy_estimate_averages_to_the_squashed_entropy():
    # H(tanh u) = H(u) + E[log(1 - tanh(u)^2)]; the second part by quadrature
    sigma = 0.4
    grid = torch.linspace(-8, 8, 20_001, dtype=torch.float64)
    weight = torch.exp(-0.5 * grid**2)
    weight /= weight.sum()
    expected = 0.5 * math.log(2 * math.pi * math.e * sigma**2) + float(
        (weight * torch.log1p(-(torch.tanh(sigma * grid) ** 2))).sum()
    )
    policy = Gaussian(torch.zeros(100_000, 1), torch.full((100_000, 1), math.log(sigma)))
    estimate = entropy_term(policy, torch.Generator().manual_seed(0)).mean()
    assert float(estimate) == pytest.approx(expected, abs=0.01)


def test_a_wider_policy_has_more_entropy():
    log_std = torch.full((1000, 2), -3.0, requires_grad=True)
    entropy_term(Gaussian(torch.zeros(1000, 2), log_std)).mean().backward()
    # d H / d log sigma = 1 for a Gaussian; tanh takes a little of it
    assert torch.allclose(1000 * log_std.grad.mean(0), torch.ones(2), atol=0.05)
