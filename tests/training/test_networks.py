"""Building blocks against plain torch modules and closed forms."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from training.networks import Heads, PreLNBlock, ResidualTransition, RunningNorm


def test_the_pre_norm_block_is_x_plus_an_mlp_of_its_layer_norm():
    block, x = PreLNBlock(6, 9), torch.randn(4, 6)
    inner = torch.relu(nn.functional.layer_norm(x, (6,)) @ block.inner.weight.T + block.inner.bias)
    expected = x + inner @ block.outer.weight.T + block.outer.bias
    assert torch.allclose(block(x), expected, atol=1e-6)


def test_the_transition_adds_the_state_and_nothing_else_when_its_last_layer_is_zero():
    net = ResidualTransition(5, 3, 8, count=0)
    nn.init.zeros_(net.outer.weight)
    nn.init.zeros_(net.outer.bias)
    state = torch.randn(7, 5)
    assert torch.equal(net(state, torch.randn(7, 3)), state)


def copied(heads, index):
    """Return head `index` as a plain torch MLP."""
    layers = []
    for layer, norm in zip(heads.layers, heads.norms, strict=True):
        features = layer.weight.shape[2]
        linear = nn.Linear(layer.weight.shape[1], features)
        linear.weight.data, linear.bias.data = layer.weight[index].T, layer.bias[index, 0]
        if norm.batch is None:
            plain = nn.LayerNorm(features)
            plain.weight.data, plain.bias.data = norm.weight[index, 0], norm.bias[index, 0]
        else:
            plain = nn.BatchNorm1d(features)
            span = slice(index * features, (index + 1) * features)
            for name in ("weight", "bias"):
                getattr(plain, name).data = getattr(norm.batch, name)[span].clone()
            for name in ("running_mean", "running_var"):
                getattr(plain, name).copy_(getattr(norm.batch, name)[span])
        layers += [linear, plain, nn.ReLU()]
    last = nn.Linear(heads.last.weight.shape[1], heads.last.weight.shape[2])
    last.weight.data, last.bias.data = heads.last.weight[index].T, heads.last.bias[index, 0]
    return nn.Sequential(*layers, last)


def perturbed(norm):
    """Return heads whose norm weights and statistics are not the initial ones."""
    heads = Heads(3, 5, (8, 6), 4, norm, zero_last=False)
    with torch.no_grad():
        for layer in heads.norms:
            target = layer if layer.batch is None else layer.batch
            target.weight.add_(0.3 * torch.randn_like(target.weight))
            target.bias.add_(0.3 * torch.randn_like(target.bias))
            if layer.batch is not None:
                layer.batch.running_mean.normal_()
                layer.batch.running_var.uniform_(0.5, 2.0)
    return heads


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_heads_side_by_side_are_separate_plain_networks(norm, training):
    heads = perturbed(norm).train(training)
    x = torch.randn(32, 5)
    plain = [copied(heads, index).train(training) for index in range(3)]
    expected = torch.stack([net(x) for net in plain], 1)
    assert torch.allclose(heads(x), expected, atol=1e-5)


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_picked_heads_are_those_heads_in_that_order(norm):
    heads, x = perturbed(norm).eval(), torch.randn(4, 2, 5)
    pick = torch.tensor([2, 0])
    assert torch.allclose(heads(x, pick), heads(x)[..., pick, :], atol=1e-6)


def test_while_batch_norm_learns_heads_that_were_not_picked_learn_their_statistics_too():
    torch.manual_seed(0)
    heads, x = perturbed("batch").train(), torch.randn(16, 5)
    plain, pick = copy.deepcopy(heads), torch.tensor([2, 0])
    torch.testing.assert_close(heads(x, pick), plain(x)[:, pick])
    for ours, theirs in zip(heads.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_while_batch_norm_learns_every_position_of_an_unroll_is_a_batch_of_its_own():
    heads, x = perturbed("batch").train(), torch.randn(16, 4, 5) * torch.arange(1.0, 5.0)[:, None]
    plain = [copied(heads, index).train() for index in range(3)]
    steps = [torch.stack([net(x[:, k]) for net in plain], 1) for k in range(4)]  # in order
    torch.testing.assert_close(heads(x), torch.stack(steps, 1), rtol=1e-5, atol=1e-5)
    for index, net in enumerate(plain):
        norms = [layer for layer in net if isinstance(layer, nn.BatchNorm1d)]
        for norm, theirs in zip(heads.norms, norms, strict=True):
            span = slice(index * theirs.num_features, (index + 1) * theirs.num_features)
            torch.testing.assert_close(norm.batch.running_mean[span], theirs.running_mean)
            torch.testing.assert_close(norm.batch.running_var[span], theirs.running_var)
            assert norm.batch.num_batches_tracked == theirs.num_batches_tracked == 4


def test_layer_norm_takes_all_positions_of_an_unroll_in_one_pass(monkeypatch):
    heads, passes = perturbed("layer").train(), []
    answer = heads._answer
    monkeypatch.setattr(heads, "_answer", lambda *a: passes.append(a) or answer(*a))
    assert heads(torch.randn(16, 4, 5)).shape == (16, 4, 3, 4)
    assert len(passes) == 1


def test_heads_start_like_torchs_linear_layers():
    heads = Heads(5, 64, (128,), 51, "layer", zero_last=False)
    bound = 64**-0.5
    for parameter in (heads.layers[0].weight, heads.layers[0].bias):
        assert float(parameter.detach().abs().max()) <= bound
        assert float(parameter.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.1)


def test_zero_initialised_heads_answer_zero():
    assert torch.all(Heads(2, 5, (8,), 3, "batch", zero_last=True)(torch.randn(6, 5)) == 0.0)


def test_an_unknown_head_norm_is_refused_with_what_exists():
    with pytest.raises(ValueError, match=r"'group'.*batch.*layer"):
        Heads(1, 2, (3,), 4, "group", zero_last=False)


def test_running_statistics_are_those_of_all_data_with_the_pseudo_count_mixed_in():
    norm = RunningNorm(3, pseudo_count=10.0)
    rng = np.random.default_rng(0)
    parts = [rng.normal(4.0, 2.0, (n, 3)).astype(np.float32) for n in (7, 50, 1)]
    for part in parts:
        norm.update(torch.from_numpy(part))
    data = np.concatenate(parts)
    count, total = len(data), len(data) + 10.0
    # ten pretended observations with mean 0 and mean square 1
    mean = data.sum(0) / total
    square = ((data**2).sum(0) + 10.0 * 1.0) / total
    assert float(norm.count) == count + 10.0
    assert np.allclose(norm.mean, mean, atol=1e-5)
    assert np.allclose(norm.var, square - mean**2, atol=1e-4)


def test_normalising_divides_by_the_root_of_variance_plus_1e_5():
    norm = RunningNorm(2)
    norm.mean.copy_(torch.tensor([1.0, 2.0]))
    norm.var.copy_(torch.tensor([4.0, 0.0]))
    out = norm(torch.tensor([[3.0, 2.0]]))
    assert out.tolist() == [[pytest.approx(2.0 / (4.0 + 1e-5) ** 0.5), 0.0]]


def test_everything_the_normaliser_knows_is_saved():
    assert set(RunningNorm(2).state_dict()) == {"mean", "var", "count"}
