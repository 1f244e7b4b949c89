import dataclasses

import numpy as np
import pytest
import torch

from distill.config import LabelConfig
from distill.teacher import Teacher
from training.agent import Agent
from training.checkpoint import CheckpointError
from training.cli import ConfigError


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def observations() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.normal(size=(6, 51)).astype(np.float32), np.array([0, 0, 0, 1, 1, 1])


def test_labels_are_what_plan_recommends(teacher_file):
    agent = Agent.load(teacher_file)
    o, t = observations()
    teacher = Teacher.load(teacher_file, LabelConfig(value_reduce="min2"))
    expected = agent.plan(o, t, generator=generator()).action
    np.testing.assert_array_equal(teacher.label(o, t, generator()), expected)


def test_weighted_labels_are_the_softmax_mean_of_plans_candidates(teacher_file):
    teacher = Teacher.load(teacher_file, LabelConfig(target="weighted"))
    o, t = observations()
    planner = dataclasses.replace(teacher.agent.planner, value_reduce="mean")
    plan = teacher.agent.plan(o, t, planner=planner, generator=generator())
    weight = torch.softmax(torch.from_numpy(plan.scores), -1)
    expected = (weight[..., None] * torch.from_numpy(plan.candidates)).sum(1).numpy()
    np.testing.assert_allclose(teacher.label(o, t, generator()), expected, atol=1e-6)


def test_mean_labels_are_the_policy_without_search(teacher_file):
    teacher = Teacher.load(teacher_file, LabelConfig(target="mean"))
    o, t = observations()
    expected = Agent.load(teacher_file).policy_mean(o, t)
    np.testing.assert_array_equal(teacher.label(o, t, generator()), expected)


def test_a_subset_of_tasks_is_labelled_with_the_agents_own_indices(teacher_file):
    teacher = Teacher.load(teacher_file, LabelConfig(target="mean"), ("walk",))
    o, _ = observations()
    given = teacher.label(o, np.zeros(6, int), generator())
    np.testing.assert_array_equal(given, teacher.agent.policy_mean(o, np.ones(6, int)))


def test_a_stronger_search_has_the_candidates_that_were_asked_for(teacher_file):
    config = LabelConfig(simulations=16, mean=1, narrow=6, wide=0, gradient=3)
    planner = Teacher.load(teacher_file, config).planner
    assert (planner.search.simulations, planner.proposals.count) == (16, 10)
    assert planner.value_reduce == "mean"


def test_a_task_the_teacher_does_not_know_is_refused_with_those_it_does(teacher_file):
    with pytest.raises(ConfigError, match=r"stand.*walk.*'hurdle'"):
        Teacher.load(teacher_file, LabelConfig(), ("hurdle",))


def test_a_search_with_fewer_simulations_than_candidates_is_refused(teacher_file):
    with pytest.raises(ConfigError, match="simulations=4"):
        Teacher.load(teacher_file, LabelConfig(simulations=4, narrow=8))


def test_a_missing_checkpoint_is_refused_with_what_lies_there(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(CheckpointError, match=r"notes\.txt"):
        Teacher.load(tmp_path, LabelConfig())
