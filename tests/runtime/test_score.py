"""The runtime's three rewards and its simulator against the training package's, which owns them."""

from __future__ import annotations

import math

import mujoco
import numpy as np
import pytest

from runtime import h1, score
from runtime.mujoco_robot import MujocoRobot
from runtime.state import JointTargets

h1_env = pytest.importorskip("training.h1_env")


@pytest.mark.parametrize("task", sorted(score.SPEED))
@pytest.mark.parametrize("action_map", ["home", "benchmark"])
def test_the_robot_moves_and_scores_exactly_as_the_training_environment(task, action_map):
    env = h1_env.H1Env([task], seed=3, action_map=action_map)
    env.reset()
    robot = MujocoRobot(task=task)
    robot.release()
    robot.data.qpos[:], robot.data.qvel[:] = env.qpos[0], env.qvel[0]
    mujoco.mj_forward(robot.model, robot.data)
    rng, total = np.random.default_rng(0), 0.0
    # the benchmark's map is float32 arithmetic: 3e-7 rad of target, which chaos then makes larger
    steps, near = (60, 1e-9) if action_map == "home" else (15, 2e-3)
    for _ in range(steps):
        action = rng.uniform(-1, 1, (1, 19)).astype(np.float32)
        step = env.step(action)
        target = h1.action_map(action_map).target(action[0])
        robot.write(JointTargets(0, 0.0, target, h1.STIFFNESS, h1.DAMPING), 10)
        np.testing.assert_allclose(robot.data.qpos, env.qpos[0], atol=near)
        assert robot.reward == pytest.approx(float(step.reward[0]), abs=max(near, 1e-6))
        total += float(step.reward[0])
    assert robot.windows == steps
    assert robot.reward_sum == pytest.approx(total, abs=1e-3)


def test_a_task_the_runtime_cannot_score_is_not_a_number():
    assert math.isnan(score.reward("pole", 1.7, 1.0, np.zeros(3), np.zeros(19)))


def test_standing_still_and_relaxed_is_worth_one():
    assert score.reward("stand", 1.7, 1.0, np.zeros(3), np.zeros(19)) == 1.0
    assert score.reward("walk", 1.7, 1.0, np.array([1.0, 0, 0]), np.zeros(19)) == 1.0
    assert score.reward("run", 1.7, 1.0, np.zeros(3), np.zeros(19)) == pytest.approx(1 / 6)
