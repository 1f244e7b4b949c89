"""An ONNX student through the evaluation of training."""

import json

import numpy as np
import pytest
import torch

from distill.config import StudentConfig
from distill.export import export
from distill.report import student_controller
from distill.student import make_spec, make_student
from runtime.observation import Memory, observe
from runtime.state import Command, state_from_generalized
from training import evaluate as door
from training.contenders import contenders
from training.h1_env import H1Env

TASKS = ("stand", "sit_hard", "balance_hard")


@pytest.fixture(scope="module")
def policy_file(tmp_path_factory):
    """A student of random weights that knows a task with none, one and two free bodies."""
    spec = make_spec("t", TASKS, "home", StudentConfig(history=2, hidden=(8,)))
    student = make_student(spec, StudentConfig(history=2, hidden=(8,)), 0)
    observations = np.random.default_rng(0).normal(size=(8, spec.observation_size))
    student.normalise(torch.from_numpy(observations.astype(np.float32)))
    with torch.no_grad():
        student.net[-2].weight.mul_(200)
    path = tmp_path_factory.mktemp("student") / "policy.onnx"
    export(student, spec, observations.astype(np.float32), path)
    return path


def test_a_student_is_scored_like_everybody_else(policy_file, monkeypatch, capsys):
    words = [f"policy={policy_file}", "episodes=1", "steps=4", "protocol=ezm"]
    monkeypatch.setattr("sys.argv", ["evaluate.py", *words])
    assert door.main() == 0
    scores = json.loads(capsys.readouterr().out.splitlines()[-1])["scores"]
    assert set(scores["student"]["ezm"]["tasks"]) == set(TASKS)


def test_the_student_sees_the_robot_whatever_else_moves_in_the_scene(policy_file):
    """Oracle: the robot's own state, straight from the simulator."""
    [player] = contenders(str(policy_file))
    env = H1Env(TASKS, seed=0, action_map=player.action_map)
    env.step(np.full((3, 19), 0.3))
    seen = []

    def spy(observation):
        seen.append(observation)
        return np.zeros((3, 19), np.float32)

    spec = make_spec("t", TASKS, "home", StudentConfig(history=2, hidden=(8,)))
    student_controller(spec, spy)(env._observe(), np.arange(3))
    state = state_from_generalized(env.qpos, env.qvel)
    expected = observe(state, Command(np.arange(3)), spec, Memory.create(spec, batch_shape=(3,)))
    np.testing.assert_allclose(seen[0], expected, atol=1e-5)


def test_a_student_alone_on_its_third_task_is_told_that_task(policy_file):
    [player] = contenders(str(policy_file))
    observation = np.random.default_rng(0).normal(size=(1, 77)).astype(np.float32)
    observation[:, 3:7] = [1, 0, 0, 0]
    alone = player.begin(["balance_hard"], 0)(observation, np.array([0]))
    among = player.begin(TASKS, 0)(observation, np.array([2]))
    assert np.array_equal(alone, among)
    other = player.begin(TASKS, 0)(observation[:, :64], np.array([1]))
    assert not np.array_equal(alone, other)
