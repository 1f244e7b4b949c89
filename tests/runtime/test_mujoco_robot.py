"""MuJoCo behind the protocol of a robot: its time, its drives."""

from __future__ import annotations

import numpy as np
import pytest

from runtime import h1
from runtime.mujoco_robot import MujocoRobot
from runtime.state import JointTargets

DT = 0.002


def test_a_stalled_process_lets_simulated_time_slip_instead_of_bursting():
    robot = MujocoRobot()
    before = robot.data.time
    robot.write(JointTargets(1, 0.0, h1.DEFAULT_POSE, h1.STIFFNESS, h1.DAMPING), ticks=1000)
    assert robot.data.time - before == pytest.approx(10 * DT)
    assert robot.slipped == 990


def test_the_robot_honours_gains_velocity_and_feed_forward():
    robot = MujocoRobot()
    rng = np.random.default_rng(0)
    state = robot.read()
    kp, kd = rng.uniform(1, 50, 19), rng.uniform(0.1, 5, 19)
    position, velocity = state.joint_position + 0.05 * rng.normal(size=19), rng.normal(size=19)
    torque = rng.normal(size=19)
    wanted = JointTargets(1, 0.0, position, kp, kd, velocity, torque)
    clipped = np.clip(position, h1.JOINT_LOWER, h1.JOINT_UPPER)
    expected = kp * (clipped - state.joint_position) + kd * (velocity - state.joint_velocity)
    robot.write(wanted)
    np.testing.assert_allclose(robot.data.actuator_force, expected + torque, atol=1e-9)
