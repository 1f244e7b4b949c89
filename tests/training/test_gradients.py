"""Angles between tasks' gradients: against hand-made ones, and without a trace in the update."""

import dataclasses

import pytest
import torch
from torch import nn

from training.gradients import MODULES, cosines, mean_by_task, task_gradients
from training.trainer import Trainer


class Linear(nn.Module):
    """Every module of a world model is one bias-free row of weights."""

    def __init__(self):
        super().__init__()
        for attribute in (a for attributes in MODULES.values() for a in attributes):
            setattr(self, attribute, nn.Linear(2, 1, bias=False))

    def forward(self, x):
        return sum(layer(x).squeeze(-1) for layer in self.children())


def test_means_by_task_are_numpys_and_nan_where_a_task_is_absent():
    values, task = torch.tensor([1.0, 2.0, 6.0, 5.0]), torch.tensor([0, 0, 2, 2])
    means = mean_by_task(values, task, 3)
    assert means[[0, 2]].tolist() == [1.5, 5.5]
    assert means[1].isnan()


def test_the_cosine_is_that_of_the_inputs_for_a_linear_loss():
    """d(w.x)/dw = x: tasks whose inputs are at 0, 90 and 180 degrees have those cosines."""
    model = Linear()
    x = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0], [-0.5, 0.0]])
    facts = cosines(model, model(x), torch.tensor([0, 1, 2, 3]), "abcd")
    for module in MODULES:
        assert facts[f"cosine/{module}/a|b"] == pytest.approx(1.0)
        assert facts[f"cosine/{module}/a|c"] == pytest.approx(0.0, abs=1e-6)
        assert facts[f"cosine/{module}/b|d"] == pytest.approx(-1.0)
        assert facts[f"cosine/{module}"] == pytest.approx((1 + 0 - 1 + 0 - 1 + 0) / 6)


def test_the_gradients_of_the_tasks_sum_to_the_whole(toy):
    torch.manual_seed(0)
    model = Linear()
    x, task = torch.randn(12, 2), torch.arange(12) % 3
    loss = model(x).square()
    parts = task_gradients(model, loss, task, 3)
    loss.mean().backward()
    for module, attributes in MODULES.items():
        whole = torch.cat([getattr(model, a).weight.grad.flatten() for a in attributes])
        assert torch.allclose(sum(parts[module].values()), whole, atol=1e-6)


@pytest.mark.parametrize("kind", ["tiny", "published"])
def test_measuring_changes_nothing_in_a_run_and_its_rows_name_every_pair(
    toy, tmp_path, monkeypatch, kind
):
    monkeypatch.setattr(Trainer, "_evaluate", lambda self: None)
    ends, rows = [], []
    for name, every in (("without", 0), ("with", 2)):
        config = getattr(toy, kind)(tmp_path / name, updates=8)
        config = dataclasses.replace(config, cosine_every=every)
        run = Trainer(config, make_env=toy.Env, sizes=toy.sizes)
        run.run()
        ends.append([p.detach().clone() for p in run.learner.model.state_dict().values()])
        rows.append((tmp_path / name / "metrics.jsonl").read_text())
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))
    assert "cosine/" not in rows[0] and "loss_task/left" in rows[0]
    for module in MODULES:
        for pair in ("left|right", "left|up", "right|up"):
            assert f'"cosine/{module}/{pair}"' in rows[1]
