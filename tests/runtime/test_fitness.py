"""Is a policy fit for the hardware's limits: what is counted, and what the exit code says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import h1
from runtime.fitness import Speeds
from runtime.mujoco_robot import MujocoRobot

ROOT = Path(__file__).parents[2]


def examine(*words: str) -> tuple[int, dict, str]:
    command = [sys.executable, "-m", "runtime.fitness", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    lines = done.stdout.strip().splitlines()
    return done.returncode, json.loads(lines[-1]) if lines else {}, done.stderr


def test_the_fastest_joint_is_the_one_nearest_to_its_own_limit():
    robot = MujocoRobot(task="stand", noise=0.0, seed=0)
    speeds = Speeds()
    for joint, share in ((3, 0.5), (4, 0.9), (3, 1.25), (4, 0.2)):
        state = robot.read()
        state.joint_velocity[:] = 0.0
        state.joint_velocity[joint] = -share * h1.VELOCITY_LIMIT[joint]
        speeds(state)
    assert speeds.fastest() == (h1.JOINT_NAMES[3], 1.25)
    assert (speeds.ticks, speeds.over) == (4, 1)


def test_a_policy_that_falls_is_not_fit_and_one_that_has_no_time_to_is(make_policy):
    policy = f"policy={make_policy()}"  # holds the home pose, which falls after a second and a half
    code, found, _ = examine(policy, "task=stand", "seconds=3", "episodes=2")
    assert code == 1
    assert not found["fit"]
    assert found["stand"]["hardware"]["lasted"] == 0
    assert found["stand"]["simulated"]["fell"] == 2
    code, found, _ = examine(policy, "task=stand", "seconds=0.2", "episodes=2")
    assert (code, found["fit"]) == (0, True)
    assert found["stand"]["hardware"]["lasted"] == 2


def test_a_limit_that_a_policy_breaks_damps_and_is_named(make_policy):
    words = ("task=stand", "seconds=1", "episodes=1", "guard.velocity_factor=0.01")
    code, found, _ = examine(f"policy={make_policy(scale=0.02)}", *words)
    cell = found["stand"]["hardware"]
    assert (code, cell["damped"]) == (1, 1)
    assert cell["monitors"]["velocity"] >= 1
    assert found["stand"]["simulated"]["damped"] == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [(["task=fly"], "the policy knows ['stand', 'walk']"), (["policy=none.onnx"], "none.onnx")],
)
def test_what_cannot_be_examined_is_said(make_policy, words, says):
    code, _, err = examine(f"policy={make_policy()}", *words)
    assert code == 2
    assert says in err
    assert "Traceback" not in err
