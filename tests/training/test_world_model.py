"""The shared model: published sizes, and what it says before it has learned anything."""

import math

import pytest
import torch

from training.config import ModelConfig
from training.losses import cross_entropy
from training.presets import PRESETS
from training.world_model import WorldModel, count_parameters

SMALL = ModelConfig(latent=16, width=24, blocks=1, task_embedding=8, head_hidden=(20,),
                    policy_hidden=(20,), projector=16)  # fmt: skip


def small(**changes):
    torch.manual_seed(0)
    return WorldModel(ModelConfig(**{**vars(SMALL), **changes}), 7, [3, 2])


@pytest.mark.parametrize(
    ("tasks", "observation", "action", "millions"), [(9, 51, 19, 15.953), (14, 177, 61, 16.085)]
)
def test_the_published_networks_have_the_published_number_of_parameters(
    tasks, observation, action, millions
):
    model = WorldModel(ModelConfig(), observation, [action] * tasks)
    assert round(count_parameters(model) / 1e6, 3) == millions


def test_each_published_module_has_its_published_size():
    model = WorldModel(ModelConfig(), 177, [61] * 14)
    millions = {
        name: round(count_parameters(part) / 1e6, 3) for name, part in model.named_children()
    }
    assert millions["encoder"] == 1.737
    assert millions["dynamics"] == 2.202
    assert (
        round(millions["action_embedding"] + millions["reward_trunk"] + millions["reward_head"], 3)
        == 2.770
    )
    assert millions["trunk"] == 2.467
    assert millions["value_head"] == 3.095
    assert millions["policy_head"] == 0.655
    assert (millions["projector"], millions["predictor"]) == (2.105, 1.052)


def test_the_medium_preset_is_the_published_configuration():
    assert PRESETS["hb_medium"].model == ModelConfig()
    assert len(PRESETS["hb_medium"].tasks) == 9


def rows(model, count=6):
    task = torch.arange(count) % 2
    e = model.embed(task)
    return task, e, model.encode(torch.randn(count, 7), e)


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_the_first_policy_has_mean_0_and_sigma_0_0183(norm):
    model = small(head_norm=norm).eval()
    task, e, state = rows(model)
    policy = model.policy(model.features(state, e), task)
    assert torch.all(policy.mean == 0.0)
    assert torch.allclose(policy.log_std.exp(), torch.tensor(0.0183), atol=1e-4)


def test_the_first_reward_is_0_and_its_cross_entropy_ln_51():
    model = small().eval()
    _, e, state = rows(model)
    action = torch.rand(6, 3)
    assert torch.allclose(model.reward(state, e, action), torch.zeros(6), atol=1e-4)
    target = model.reward_support.encode(torch.rand(6))
    ce = cross_entropy(model.reward_logits(state, e, action), target)
    assert ce.tolist() == pytest.approx([math.log(51)] * 6, abs=1e-4)


def test_the_first_value_cross_entropy_is_of_the_same_order_but_not_uniform():
    model = small().eval()
    _, e, state = rows(model)
    logits = model.value_logits(model.features(state, e))
    assert logits.shape == (6, 5, 51)
    ce = cross_entropy(logits, model.value_support.encode(torch.zeros(6, 5)))
    assert 2.0 < ce.mean().item() < 8.0
    assert logits.std().item() > 0.0


def test_value_is_the_least_or_the_mean_of_the_picked_heads_and_never_negative():
    model = small(value_floor=-1e9).eval()
    _, e, state = rows(model)
    features = model.features(state, e)
    every = model.value_support.decode(model.value_logits(features))  # [6, 5]
    pick = torch.tensor([3, 1])
    assert torch.allclose(model.value(features, pick, "min2"), every[:, [1, 3]].amin(-1), atol=1e-4)
    assert torch.allclose(model.value(features, None, "mean"), every.mean(-1), atol=1e-4)
    floored = small().eval()
    assert floored.value(floored.features(state, e), pick, "min2").min().item() >= 0.0


def test_masked_actuators_have_mean_0_and_log_sigma_minus_4_also_after_learning():
    model = small(head_norm="layer").eval()
    torch.nn.init.normal_(model.policy_head.last.weight)
    task, e, state = rows(model)
    policy = model.policy(model.features(state, e), task)
    short = task == 1  # two of three actuators
    assert torch.all(policy.mean[short, 2] == 0.0)
    assert torch.allclose(policy.log_std[short, 2], torch.tensor(-4.0))
    assert torch.all(policy.mean[~short] != 0.0)


def test_task_embeddings_stay_inside_the_unit_ball_whatever_the_weights():
    model = small()
    with torch.no_grad():
        model.task_embedding.weight.mul_(50.0)
    assert torch.allclose(model.embed(torch.arange(2)).norm(dim=-1), torch.ones(2))
    with torch.no_grad():
        model.task_embedding.weight.mul_(1e-4)
    weight = model.task_embedding.weight
    assert torch.equal(model.embed(torch.arange(2)), weight)


def test_task_embeddings_start_inside_the_ball_so_that_their_gradient_is_whole():
    model = WorldModel(ModelConfig(), 51, [19] * 9)
    assert model.task_embedding.weight.norm(dim=-1).max().item() <= 1.0 + 1e-5


def test_the_task_changes_every_answer():
    model = small(head_norm="layer").eval()
    torch.nn.init.normal_(model.policy_head.last.weight)
    torch.nn.init.normal_(model.reward_head.last.weight)
    observation, action = torch.randn(1, 7), torch.rand(1, 3)
    answers = []
    for task in torch.arange(2):
        e = model.embed(task.unsqueeze(0))
        state = model.encode(observation, e)
        answers.append(
            (state, model.next(state, e, action), model.reward(state, e, action),
             model.policy(model.features(state, e), task.unsqueeze(0)).mean)
        )  # fmt: skip
    assert all(not torch.allclose(a, b) for a, b in zip(*answers, strict=True))


def test_leading_dimensions_are_independent_rows():
    model = small(head_norm="layer").eval()
    _, e, state = rows(model)
    flat = model.value_logits(model.features(state, e))
    folded = model.value_logits(model.features(state.view(2, 3, -1), e.view(2, 3, -1)))
    assert torch.allclose(folded.flatten(0, 1), flat, atol=1e-5)
