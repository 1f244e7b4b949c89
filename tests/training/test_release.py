"""The release's ways that can be switched back on (docs/ezm_release.md), and its hard suite."""

import dataclasses

import numpy as np
import pytest
import torch

from training.cli import ConfigError
from training.config import LossConfig, ModelConfig, OptimConfig
from training.learner import Learner, optimizer
from training.presets import PRESETS, load_config
from training.replay import TaskBuffer
from training.suites import open_suite
from training.trainer import Trainer
from training.world_model import WorldModel, count_parameters

SMALL = ModelConfig(latent=16, width=16, blocks=1, reward_blocks=1, task_embedding=8,
                    head_hidden=(16,), policy_hidden=(16,), projector=16)  # fmt: skip


def test_the_hard_preset_has_the_published_parameters_tasks_and_budget():
    hard = PRESETS["hb_hard"]
    assert round(count_parameters(WorldModel(hard.model, 177, [61] * 14)) / 1e6, 3) == 16.085
    assert len(hard.tasks) == 14
    assert all(name.startswith("h1hand-") for name in hard.tasks)
    assert hard.updates == 620_000
    # 6e5 updates with new data on 2e6 steps of each task
    assert hard.update_ratio * 2_000_000 == pytest.approx(600_000)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["tasks=[walk,h1hand-walk]"], "different robots .h1, h1hand."),
        (["tasks=[h1hand-walk]"], "suite=ours has an h1 without hands"),
        (["tasks=[wlak]"], "no task 'wlak'; there are"),
        (["suite=real", "collect.observation=body"], "suite=real has only 'benchmark'"),
    ],
)
def test_tasks_that_a_suite_does_not_have_are_refused(words, match):
    with pytest.raises(ConfigError, match=match):
        open_suite(load_config(["preset=debug", *words]))


def test_dropping_tails_leaves_out_the_last_block_of_an_episode_and_nothing_else():
    buffer = dropped_after_25_steps()
    assert np.flatnonzero(buffer.priority[0]).tolist() == list(range(20))


@pytest.mark.parametrize("ends", [False, True], ids=["goes on", "ends early"])
def test_the_next_episode_brings_no_dropped_frame_back(ends):
    buffer = dropped_after_25_steps()
    play(buffer, 2 if ends else 6)
    if ends:
        buffer.finish(np.array([0]), np.zeros((1, 1), np.float32), np.array([True]))
    added = [26, 27] if ends else [26, 27, 28]  # 25 is the final frame, the window 3
    assert np.flatnonzero(buffer.priority[0]).tolist() == [*range(20), *added]


def test_a_loaded_replay_remembers_what_was_dropped():
    other = TaskBuffer(rows=1, capacity=100, observation=1, action=1, window=3)
    other.load(dropped_after_25_steps().state())
    play(other, 6)
    assert np.flatnonzero(other.priority[0]).tolist() == [*range(20), 26, 27, 28]


def test_what_overwrites_a_dropped_frame_can_be_sampled():
    buffer = dropped_after_25_steps()
    play(buffer, buffer.columns + 3)
    assert not buffer.dropped.any()
    assert np.count_nonzero(buffer.priority) == buffer.columns - 3


def dropped_after_25_steps():
    buffer = TaskBuffer(rows=1, capacity=100, observation=1, action=1, window=3)
    play(buffer, 25)
    buffer.finish(np.array([0]), np.zeros((1, 1), np.float32), np.array([False]))
    buffer.drop_tail(np.array([0]), np.array([25]), 10)
    return buffer


def play(buffer, steps):
    for step in range(steps):
        buffer.add(np.full((1, 1), step, np.float32), np.zeros((1, 1), np.float32), np.zeros(1))


def test_the_average_can_begin_elsewhere_as_the_release_s_workers_do():
    torch.manual_seed(0)
    own = OptimConfig(average_start="own")
    config = dataclasses.replace(PRESETS["debug"], model=SMALL, optim=own)
    learner = Learner(WorldModel(SMALL, 7, [3, 2]), config)
    ours, theirs = learner.average.state_dict(), learner.model.state_dict()
    assert not torch.allclose(ours["dynamics.inner.weight"], theirs["dynamics.inner.weight"])
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
    assert torch.equal(ours["action_mask"], theirs["action_mask"])


def test_adamw_decays_matrices_and_neither_norms_nor_biases_nor_task_embeddings():
    model = WorldModel(SMALL, 7, [3, 2])
    groups = optimizer(model, OptimConfig(decay="adamw")).param_groups
    names = {id(p): n for n, p in model.named_parameters()}
    decayed = {names[id(p)] for p in groups[0]["params"]}
    assert "dynamics.inner.weight" in decayed
    assert "value_head.last.weight" in decayed
    assert not {n for n in decayed if "norm" in n or "bias" in n or "task_embedding" in n}
    assert sum(len(group["params"]) for group in groups) == len(names)
    assert groups[1]["weight_decay"] == 0.0


def test_all_of_the_release_s_ways_together_train(toy, tmp_path):
    config = toy.published(tmp_path)
    config = dataclasses.replace(
        config,
        loss=dataclasses.replace(config.loss, path_target="min"),
        targets=dataclasses.replace(config.targets, value_reduce="min2_each"),
        optim=dataclasses.replace(config.optim, average_start="own", freeze_norm_after=6),
        replay=dataclasses.replace(config.replay, drop_tail=4),
        collect=dataclasses.replace(config.collect, random_stores="planned"),
    )
    trainer = Trainer(config, toy.Env, toy.sizes)
    trainer.run()
    assert trainer.learner.updates == config.updates
    assert all(bool(w.isfinite().all()) for w in trainer.learner.model.state_dict().values())


def test_the_released_random_phase_stores_what_it_did_not_do(toy, tmp_path):
    config = toy.tiny(tmp_path)
    planned = dataclasses.replace(config.collect, random_stores="planned", random_scale=1.0)
    trainer = Trainer(dataclasses.replace(config, collect=planned), toy.Env, toy.sizes)
    trainer.run()
    buffer = trainer.replay.buffers[0]
    first, then = buffer.observation[:, 0], buffer.observation[:, 1]
    told, _ = toy.dynamics(first, buffer.action[:, 0], np.zeros(3))
    assert not np.allclose(told, then, atol=1e-3)


def test_the_loss_says_which_value_path_consistency_aims_at():
    assert LossConfig().path_target == "mean"
    with pytest.raises(ConfigError, match="path_target='max'; there are mean, min"):
        load_config(["loss.path_target=max"])
