"""Losses against torch's own functions and by finite thought."""

import math

import pytest
import torch
from torch.nn import functional

from training import losses
from training.config import LossConfig
from training.learner import entropy_loss
from training.policy_head import Gaussian, entropy_term


def test_cross_entropy_with_hard_targets_is_torchs():
    logits = torch.randn(7, 11)
    classes = torch.randint(11, (7,))
    ours = losses.cross_entropy(logits, functional.one_hot(classes, 11).float())
    assert torch.allclose(ours, functional.cross_entropy(logits, classes, reduction="none"))


def test_cross_entropy_of_uniform_logits_is_the_logarithm_of_the_bins():
    target = torch.softmax(torch.randn(3, 51), -1)
    assert losses.cross_entropy(torch.zeros(3, 51), target).tolist() == pytest.approx(
        [math.log(51)] * 3, abs=1e-5
    )


def test_the_gradient_of_cross_entropy_is_softmax_minus_target():
    logits = torch.randn(4, 9, dtype=torch.float32, requires_grad=True)
    target = torch.softmax(torch.randn(4, 9), -1)
    losses.cross_entropy(logits, target).sum().backward()
    assert torch.allclose(logits.grad, torch.softmax(logits, -1).detach() - target, atol=1e-6)


def test_ensemble_cross_entropy_is_the_weighted_mean_over_heads():
    logits, target = torch.randn(2, 3, 5, 7), torch.softmax(torch.randn(2, 3, 7), -1)
    by_head = [losses.cross_entropy(logits[:, :, head], target) for head in range(5)]
    expected = 0.5 * torch.stack(by_head).mean(0)
    assert torch.allclose(losses.ensemble_cross_entropy(logits, target, 0.5), expected)


def test_negative_cosine_is_minus_one_for_parallel_and_plus_one_for_opposite():
    x = torch.randn(4, 6)
    assert torch.allclose(losses.negative_cosine(x, 3.0 * x), -torch.ones(4))
    assert torch.allclose(losses.negative_cosine(x, -x), torch.ones(4))


def test_negative_cosine_sends_no_gradient_into_its_target():
    x, y = torch.randn(2, 6, requires_grad=True), torch.randn(2, 6, requires_grad=True)
    losses.negative_cosine(x, y).sum().backward()
    assert x.grad is not None
    assert y.grad is None


def test_masked_steps_count_nothing():
    per_step = torch.tensor([[1.0, 10.0, 100.0]])
    assert losses.masked_sum(per_step, torch.tensor([[1.0, 0.0, 1.0]])).tolist() == [101.0]


def test_halve_gradient_keeps_the_value_and_compounds_along_a_chain():
    x = torch.tensor([3.0], requires_grad=True)
    y = x
    for _ in range(3):
        y = losses.halve_gradient(2.0 * y)
    y.backward()
    assert y.item() == 24.0
    assert x.grad.item() == 2.0**3 / 2.0**3


@pytest.mark.parametrize("log_std", [-3.0, 0.3])
def test_the_target_mode_brings_the_entropy_to_its_target_from_above_and_from_below(log_std):
    torch.manual_seed(0)
    width = torch.full((3,), log_std, requires_grad=True)
    config = LossConfig(entropy_mode="target", entropy_target=-0.5)
    optimizer = torch.optim.SGD([width], lr=0.02)
    for _ in range(300):
        policy = Gaussian(torch.zeros(512, 3), width.expand(512, 3))
        optimizer.zero_grad()
        entropy_loss(policy, config).mean().backward()
        optimizer.step()
    with torch.no_grad():
        reached = entropy_term(Gaussian(torch.zeros(20_000, 3), width.expand(20_000, 3))).mean()
    assert float(reached) == pytest.approx(3 * -0.5, abs=0.05)
