"""What a GPU needs of search and update, checked without one.

On the meta device tensors have shapes and no numbers: a step that mixes devices, or that waits
for a number before it goes on, raises there.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from training import bench
from training import planner as planning
from training.cli import ConfigError
from training.config import LossConfig, ModelConfig, ProposalConfig, TargetConfig
from training.learner import unrolled_losses
from training.mcts import SearchConfig
from training.planner import PlannerConfig, plan
from training.presets import PRESETS, load_config
from training.reanalyse import TrainingBatch
from training.suites import open_device
from training.trainer import Trainer
from training.world_model import WorldModel

MODEL = ModelConfig(latent=16, width=16, blocks=1, reward_blocks=1, task_embedding=8,
                    head_hidden=(16,), policy_hidden=(16,), projector=16)  # fmt: skip
SIZES = (7, [3, 3])
PUBLISHED = PlannerConfig.of(SearchConfig(), ProposalConfig(), TargetConfig())


def model(device="cpu"):
    torch.manual_seed(0)
    return WorldModel(MODEL, *SIZES).to(device).eval()


def roots(device="cpu", count=5):
    generator = torch.Generator().manual_seed(1)
    observation = torch.randn(count, 7, generator=generator)
    return observation.to(device), (torch.arange(count) % 2).to(device)


def batch(device="cpu", count=4, unroll=5):
    task = (torch.arange(count) % 2).to(device)
    ones = torch.ones(count, unroll + 1, device=device)
    return TrainingBatch(
        task=task, observation=torch.randn(count, unroll + 1, 7, device=device),
        action=torch.randn(count, unroll, 3, device=device).tanh(),
        reward=torch.rand(count, unroll, device=device), value=5.0 * ones,
        policy=0.1 * torch.ones(count, unroll + 1, 3, device=device),
        weight=ones[:, 0], step_mask=ones.bool(), policy_mask=ones,
    )  # fmt: skip


KINDS = {
    "published": PUBLISHED,
    "mean of heads": dataclasses.replace(PUBLISHED, value_reduce="mean"),
    "gradient": dataclasses.replace(
        PUBLISHED, proposals=ProposalConfig(mean=1, narrow=4, wide=1, gradient=2)
    ),
    "drawn per call": dataclasses.replace(PUBLISHED, value_reduce="min2_each"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_search_stays_on_its_device_and_waits_for_no_number(kind):
    config = KINDS[kind]
    result = plan(model("meta"), *roots("meta"), config)
    assert result.action.device.type == "meta"
    assert result.action.shape == (5, 3)
    assert result.visits.shape == (5, config.proposals.count)


def test_the_losses_stay_on_their_device_and_wait_for_no_number():
    terms, roots_said = unrolled_losses(model("meta").train(), batch("meta"), LossConfig(), 0.99)
    assert {term.device.type for term in terms.values()} == {"meta"}
    assert roots_said.value.shape == roots_said.log_sigma.shape == (4,)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["published", "gradient"])
def test_the_search_is_one_graph_and_gives_the_same_answers_as_one(kind):
    config = KINDS[kind]
    torch.manual_seed(3)
    with torch.no_grad():
        eager = planning._plan(model(), *roots(), config, None)
    graph = torch.compile(planning._plan, fullgraph=True, dynamic=False, backend="eager")
    torch.manual_seed(3)
    with torch.no_grad():
        whole = graph(model(), *roots(), config, None)
    assert torch.equal(whole.visits.sum(1), eager.visits.sum(1))
    assert torch.equal(whole.best, eager.best)
    assert torch.allclose(whole.action, eager.action, atol=1e-6)
    assert torch.allclose(whole.value, eager.value, atol=1e-5)


def test_in_bfloat16_the_search_sees_nearly_the_same_and_its_tree_stays_float32():
    config = dataclasses.replace(PUBLISHED, value_reduce="mean")
    half = dataclasses.replace(config, precision="bfloat16")
    results = [
        plan(model(), *roots(), one, torch.Generator().manual_seed(0)) for one in (config, half)
    ]
    assert results[1].value.dtype == results[1].q.dtype == torch.float32
    assert torch.allclose(results[0].value, results[1].value, rtol=0.1, atol=0.1)


def test_training_in_bfloat16_moves_float32_weights_to_finite_places(toy, tmp_path):
    config = toy.tiny(tmp_path, precision="bfloat16")
    trainer = Trainer(config, toy.Env, toy.sizes)
    trainer.run()
    weights = trainer.learner.model.state_dict().values()
    assert all(w.dtype != torch.bfloat16 and bool(w.isfinite().all()) for w in weights)
    assert trainer.learner.updates == config.updates


def test_a_device_that_is_not_there_is_refused_with_what_is(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("this machine has the CUDA device that the test wants missing")
    with pytest.raises(ConfigError, match=r"device='cuda:0'.*sees 0 CUDA devices"):
        open_device("cuda:0")
    with pytest.raises(ConfigError, match="device='gpu'; there are cpu, cuda"):
        dataclasses.replace(PRESETS["debug"], device="gpu")


def test_the_commands_for_a_gpu_in_the_docs_say_what_the_keys_mean():
    page = Path(__file__).parents[2] / "docs" / "ezm_release.md"
    text = page.read_text().replace("\\\n", " ")
    words = {
        door: line.split()[2:]
        for door in ("run", "bench")
        for line in text.splitlines()
        if line.startswith(f"python training/{door}.py") and "device=cuda" in line
    }
    config = load_config(words["run"])
    assert (config.preset, config.device, config.precision) == ("hb_medium", "cuda", "bfloat16")
    assert config.optim.compile and config.optim.compile_search
    assert config.collect.threads > 1
    measured = bench.training_config(bench.load(words["bench"]))
    assert dataclasses.replace(measured, out=config.out) == config


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, here is none")
def test_on_a_gpu_a_run_ends_with_finite_weights_and_an_agent_that_plans(toy, tmp_path):
    trainer = Trainer(toy.tiny(tmp_path, device="cuda"), toy.Env, toy.sizes)
    trainer.run()
    assert all(bool(w.isfinite().all()) for w in trainer.learner.model.state_dict().values())
    result = plan(trainer.learner.average, torch.zeros(2, 3, device="cuda"),
                  torch.zeros(2, dtype=torch.long, device="cuda"), trainer.planner)  # fmt: skip
    assert np.isfinite(result.action.cpu().numpy()).all()
