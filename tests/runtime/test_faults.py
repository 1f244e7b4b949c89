"""The campaign itself: short here; `make faults` runs all of it, with more seeds."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from runtime import h1
from runtime.cli import ConfigError
from runtime.faults import processes
from runtime.faults.catalogue import FAULTS, POLICY_FAULTS, Fault
from runtime.faults.checks import WriteCheck
from runtime.faults.fuzz import FuzzConfig, fuzz
from runtime.faults.switches import SwitchConfig, switch
from runtime.faults.trial import run
from runtime.guard import GuardConfig
from runtime.modes import Mode
from runtime.monitors import MONITORS
from runtime.policy import load_policy
from runtime.state import JointTargets, RobotState

POLICY = Path(__file__).parents[2] / "models" / "h1" / "policy.onnx"
SHORT = (
    "nothing",
    "policy killed",
    "NaN target",
    "bang-bang targets",
    "states lost",
    "states CRC-broken",
    "states repeat themselves",
    "state NaN",
    "joint at 50 rad/s",
    "IMU all zero",
    "knee loses frames",
    "knee at 100 degC",
    "each tick late",
    "process stalls 0.4 s",
    "a second commander",
    "a stranger's ESTOP",
    "limits loosened while running",
)


@pytest.fixture(scope="module")
def policy():
    return load_policy(POLICY)


def test_there_are_thirty_faults_and_every_monitor_has_one():
    names = [fault.name for fault in FAULTS] + list(processes.FAULTS)
    assert len(set(names)) == len(names) >= 30
    assert set(SHORT) <= set(names)
    assert {fault.monitor for fault in FAULTS} - {""} == set(MONITORS)


@pytest.mark.parametrize("name", SHORT)
def test_a_fault_ends_as_promised_and_breaks_no_limit(name, policy):
    fault = next(fault for fault in FAULTS if fault.name == name)
    trial = run(dataclasses.replace(fault, lasts=min(fault.lasts, 0.6)), 0, policy)
    assert (trial.complaint, trial.exceeded) == ("", 0)
    assert trial.writes > 300


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_ends_as_promised_with_another_seed(fault, policy):
    trial = run(fault, 7, policy)
    assert (trial.complaint, trial.exceeded) == ("", 0)


def test_a_guard_that_is_off_is_caught_by_the_campaign(policy, monkeypatch):
    """The check is independent: with the guard's clamps gone, the same fault exceeds limits."""
    from runtime.guard import Guard

    monkeypatch.setattr(Guard, "apply", lambda self, targets, state, dt: targets)
    fault = next(fault for fault in POLICY_FAULTS if fault.name == "bang-bang targets")
    trial = run(dataclasses.replace(fault, lasts=0.3), 0, policy)
    assert trial.exceeded > 0
    assert "torque" in trial.complaint
    assert "rate" in trial.complaint


def test_a_fault_that_is_not_answered_is_told(policy):
    fault = Fault("nothing, but damping is expected", lambda rig: None, frozenset({Mode.DAMPING}))
    assert "in POLICY" in run(dataclasses.replace(fault, lasts=0.1), 0, policy).complaint


def state() -> RobotState:
    return RobotState(
        0.0, np.array([1.0, 0, 0, 0]), np.zeros(3), h1.DEFAULT_POSE.copy(), np.zeros(19)
    )


def targets(**changes) -> JointTargets:
    rows = {"position": h1.DEFAULT_POSE, "stiffness": h1.STIFFNESS, "damping": h1.DAMPING}
    return JointTargets(1, 0.0, **(rows | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mode", "changes", "limit"),
    [
        (Mode.POLICY, {"position": h1.DEFAULT_POSE + 0.5 * np.eye(19)[10]}, "rate"),
        (Mode.POLICY, {"position": h1.DEFAULT_POSE - 0.9 * np.eye(19)[4]}, "range"),
        (Mode.POLICY, {"torque": 2.0 * h1.TORQUE_LIMIT}, "torque"),
        (Mode.POLICY, {"position": np.full(19, np.nan)}, "finite"),
        (Mode.DAMPING, {}, "stiffness without a stiff mode"),
    ],
)
def test_the_check_sees_each_limit_broken(mode, changes, limit):
    check = WriteCheck(GuardConfig(torque_factor=1.0))
    check.see(mode, targets(**changes), state(), 0.002)
    assert check.exceeded > 0
    assert limit in check.worst


def test_the_check_lets_a_good_write_pass():
    check = WriteCheck(GuardConfig())
    check.see(Mode.HOLD, targets(), state(), 0.002)
    check.see(Mode.DAMPING, targets(stiffness=np.zeros(19)), state(), 0.002)
    assert (check.exceeded, check.writes) == (0, 2)


def test_five_thousand_fuzzed_frames_break_nothing():
    told = fuzz(FuzzConfig(frames=5000, seed=3))
    assert told["limit_exceeded"] == 0
    assert min(told["admitted"], told["rejected"], told["refused"], told["requests"]) > 200


def test_a_dozen_changes_of_task_break_no_limit(policy):
    told = switch(SwitchConfig(count=12, longest=0.3), [policy])
    assert told["switches"] == 12
    assert told["limit_exceeded"] == 0
    assert set(told["falls"]) == set(policy.spec.tasks)
    assert 0.0 < sum(told["seconds_in_policy"].values()) < told["seconds"]


def test_switching_to_a_task_that_no_policy_knows_is_refused_with_the_list(policy):
    with pytest.raises(ConfigError, match=r"expected two or more of \['stand'"):
        switch(SwitchConfig(tasks="stand,fly"), [policy])


@pytest.mark.parametrize("name", ["policy process SIGSTOP"])
def test_a_stopped_process_leaves_a_damped_robot(name):
    assert processes.run(name, str(POLICY)).complaint == ""


def test_the_campaign_prints_a_table_and_one_line_of_json():
    words = [sys.executable, "-m", "runtime.faults", "seeds=1", "only=battery"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=POLICY.parents[2])
    lines = done.stdout.splitlines()
    told = json.loads(lines[-1])
    assert (done.returncode, told["faults"], told["limit_exceeded"]) == (0, 1, 0)
    assert lines[1].startswith("battery at 3 %")


def test_an_unknown_fault_is_refused_with_the_list():
    words = [sys.executable, "-m", "runtime.faults", "only=earthquake"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=POLICY.parents[2])
    assert done.returncode == 1
    assert "policy killed" in done.stderr
