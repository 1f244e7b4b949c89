"""The agent as distillation and evaluation see it."""

import dataclasses

import numpy as np
import pytest
import torch

from training.agent import Agent, build_model
from training.checkpoint import save_agent
from training.presets import PRESETS
from training.trainer import Trainer

CONFIG = PRESETS["debug"]


def agent():
    torch.manual_seed(0)
    model = build_model(CONFIG)
    torch.nn.init.normal_(model.policy_head.last.weight, std=0.1)
    return Agent(model, CONFIG, {})


def observations(rows=4):
    return np.random.default_rng(0).normal(size=(rows, 51)).astype(np.float32)


TASKS = np.array([0, 1, 0, 1])


def test_a_plan_has_the_contracts_shapes_and_stays_in_the_action_range():
    plan = agent().plan(observations(), TASKS)
    count = CONFIG.proposals.count
    assert plan.action.shape == (4, 19)
    assert plan.action.dtype == np.float32
    assert np.abs(plan.action).max() <= 1.0
    assert plan.value.shape == (4,)
    assert plan.candidates.shape == (4, count, 19)
    assert plan.scores.shape == plan.q.shape == (4, count)
    chosen = (plan.candidates == plan.action[:, None]).all(axis=2)  # one of those that survived
    assert (chosen.sum(axis=1) == 1).all()


def test_the_policy_mean_is_the_first_candidate_of_a_plan():
    player = agent()
    plan = player.plan(observations(), TASKS)
    assert np.allclose(player.policy_mean(observations(), TASKS), plan.candidates[:, 0], atol=1e-6)


def test_search_settings_can_be_replaced_for_one_plan():
    player = agent()
    wider = player.with_search(simulations=32, proposals={"narrow": 10, "gradient": 0})
    plan = player.plan(observations(), TASKS, planner=wider)
    assert plan.candidates.shape[1] == 11
    assert player.planner.search.simulations == CONFIG.search.simulations


def test_a_passed_generator_decides_the_plan():
    player = agent()
    plans = [
        player.plan(observations(), TASKS, generator=torch.Generator().manual_seed(4)).candidates
        for _ in range(2)
    ]
    assert np.array_equal(*plans)


def test_task_names_become_indices_and_unknown_ones_a_sentence():
    player = agent()
    assert player.task_index("walk") == CONFIG.tasks.index("walk")
    with pytest.raises(ValueError, match=r"trained on \['stand', 'walk'\], not on 'fly'"):
        player.task_index("fly")


def test_the_agent_takes_no_gradient_and_is_in_eval_mode():
    player = agent()
    assert not player.model.training
    assert not any(p.requires_grad for p in player.model.parameters())


def test_an_agent_of_larger_tasks_takes_the_smaller_tasks_observations_as_they_are(tmp_path):
    config = dataclasses.replace(CONFIG, tasks=("stand", "balance_hard"))
    save_agent(tmp_path / "a.safetensors", build_model(config).state_dict(), config, {})
    player = Agent.load(tmp_path / "a.safetensors")
    assert player.observation_size == 77
    padded = np.pad(observations(), ((0, 0), (0, 26)))
    short, long = (player.policy_mean(given, TASKS) for given in (observations(), padded))
    assert np.array_equal(short, long)


def test_a_run_of_tasks_with_things_learns_and_its_checkpoint_loads(tmp_path):
    config = dataclasses.replace(
        CONFIG,
        tasks=("stand", "sit_hard", "reach"),
        updates=4,
        segment=4,
        evaluate_every=8,
        out=str(tmp_path / "run"),
        collect=dataclasses.replace(CONFIG.collect, random_steps=40),
    )
    Trainer(config).run()
    assert Agent.load(tmp_path / "run").observation_size == 64
