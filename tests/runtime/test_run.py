"""Whole runs in real processes: the good one, and the ends that people and machines make."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runtime.link import RobotClient
from runtime.loop import ControlLoop
from runtime.modes import Mode
from runtime.policy import load_policy
from runtime.processes import RobotProcess
from runtime.session import TOO_SLOW, verdict
from runtime.state import Command

ROOT = Path(__file__).parents[2]
KEYS = {
    "task",
    "seconds",
    "falls",
    "return",
    "control_hz",
    "deadline_misses",
    "tick_us_p50",
    "tick_us_p99",
    "policy",
    "transport",
}


def start(*words: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "runtime" / "run.py"), *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, **pipes, text=True, cwd=ROOT, env=os.environ | environment)


def run(*words: str, **environment: str) -> tuple[int, str, str]:
    process = start(*words, **environment)
    out, err = process.communicate(timeout=90)
    return process.returncode, out, err


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in listed.split()]


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def test_a_run_ends_with_one_line_of_json_and_code_0(make_policy):
    path = make_policy()
    code, out, err = run(f"policy={path}", "task=walk straight ahead", "duration=2")
    last = json.loads(out.strip().splitlines()[-1])
    assert (code, err) == (0, "") or (code == TOO_SLOW and "too slow a machine" in err)
    assert set(last) == KEYS
    assert last["transport"] == "zmq"
    assert last["task"] == "walk"
    assert last["control_hz"] > 45.0 or last["deadline_misses"]  # kept the pace, or says so
    assert 0.0 < last["return"] < 100.0
    assert "POLICY" in out


def test_a_recorded_run_is_recorded_from_start_to_end(make_policy, tmp_path):
    pytest.importorskip("mcap", reason="NOT TESTED HERE: recording needs pip install 'ezm[record]'")
    bag = pytest.importorskip("runtime.bag")
    path = tmp_path / "run.mcap"
    _, out, err = run(f"policy={make_policy()}", "duration=2", "status=false", f"record={path}")
    last = json.loads(out)  # and nothing else
    assert '"states"' in err, "what the recorder says"
    found = bag.load(path)
    modes = [event["mode"] for _, event in found.events]
    assert modes.index("RAMP") < modes.index("POLICY") and modes[-1] == "DAMPING", err
    lasted = found.time[-1] - found.time[0]
    assert lasted > last["seconds"] > 1.9
    assert len(found.ticks) > 0.9 * last["seconds"] * last["control_hz"]


def test_only_a_rate_that_was_not_held_is_code_3(capsys):
    assert [verdict(hz, 50.0, 0.02) for hz in (50.0, 40.0, 39.9, 0.0)] == [0, 0, TOO_SLOW, TOO_SLOW]
    assert "39.9 decisions a second, expected 50" in capsys.readouterr().err
    assert verdict(50.0, 50.0, 0.3) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["polcy=x"], "did you mean 'policy'"),
        (["duration=soon"], "expected float"),
        (["policy=/nowhere/policy.onnx"], "does not exist"),
        (["task=fly"], "task 'fly' is not one of"),
        (["task=walk backwards"], "['stand', 'walk'] ('walk backwards' is near walk"),
        (["engine=abacus"], "engine 'abacus' unknown"),
    ],
)
def test_bad_input_ends_with_code_2_and_a_sentence(make_policy, words, says):
    keys = [word.split("=")[0] for word in words]
    if "policy" not in keys:
        words = [f"policy={make_policy()}", *words]
    code, out, err = run(*words)
    assert code == 2
    assert says in err
    assert "Traceback" not in err
    assert out == ""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["robot=cow"], "robot 'cow' unknown"),
        (["robot=unitree", "server=interface=nowhere0"], "CycloneDDS"),  # there or not
        (["server=guard.rate_limti=3"], "did you mean 'rate_limit'"),
        (["server=endpoint=tcp://0.0.0.0:7400"], "refusing to bind without keys"),
    ],
)
def test_a_robot_process_that_cannot_start_says_why(make_policy, words, says):
    code, _, err = run(f"policy={make_policy()}", *words)
    assert code == 1
    assert says in err
    assert "Traceback" not in err


def test_without_cyclonedds_a_real_robot_is_refused_with_the_way_to_get_it(make_policy, tmp_path):
    """On every machine: a binding that cannot be imported stands before the installed one."""
    (tmp_path / "cyclonedds").mkdir()
    (tmp_path / "cyclonedds" / "__init__.py").write_text("raise ImportError('none here')")
    code, _, err = run(f"policy={make_policy()}", "robot=unitree", PYTHONPATH=str(tmp_path))
    assert code == 1
    assert "robot=unitree needs CycloneDDS 0.10: none here; tools/make_cyclonedds.sh" in err
    assert "Traceback" not in err


def test_with_cyclonedds_a_network_without_a_robot_is_told_so(make_policy):
    if importlib.util.find_spec("cyclonedds") is None:
        pytest.skip("needs CycloneDDS 0.10 (tools/make_cyclonedds.sh .venv)")
    quiet = "server=interface=lo,domain=191"  # nobody's
    code, _, err = run(f"policy={make_policy()}", "robot=unitree", quiet)
    assert code == 1
    assert "no whole rt/lowstate within 5 s" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stage", ["starting", "running"])
def test_a_signal_at_any_stage_damps_and_ends_cleanly(make_policy, number, stage, wait_until):
    process = start(f"policy={make_policy()}", "duration=60")
    assert process.stdout is not None
    if stage == "running":
        while "POLICY" not in process.stdout.readline():
            assert process.poll() is None
    else:
        assert wait_until(lambda: bool(children(process.pid)))
    offspring = children(process.pid)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert err.strip() == f"stopped by {number.name}"
    assert wait_until(lambda: not any(alive(child) for child in offspring), 5.0)
    if stage == "running":
        assert set(json.loads(out.strip().splitlines()[-1])) == KEYS


def test_if_the_parent_is_killed_the_robot_process_damps_and_ends_by_itself(
    make_policy, wait_until
):
    process = start(f"policy={make_policy()}", "duration=60")
    assert wait_until(lambda: bool(children(process.pid)))
    offspring = children(process.pid)
    time.sleep(1.0)
    process.kill()
    process.communicate()
    assert wait_until(lambda: not any(alive(child) for child in offspring), 5.0)


def test_a_killed_robot_process_ends_the_run_with_code_1(make_policy):
    process = start(f"policy={make_policy()}", "duration=60")
    assert process.stdout is not None
    while "POLICY" not in process.stdout.readline():
        assert process.poll() is None
    (robot,) = children(process.pid)
    os.kill(robot, signal.SIGKILL)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "the robot process ended" in err


def test_a_policy_that_falls_silent_leaves_the_robot_in_damping(make_policy, wait_until):
    policy = load_policy(make_policy())
    with RobotProcess("mujoco") as process:
        client = RobotClient(process.endpoint, "test")
        loop = ControlLoop(policy, client, Command("stand"))
        client.wait(10.0)
        assert client.acquire(policy.spec) == (True, "")
        loop.start()
        assert client.request_mode(Mode.POLICY) == (True, "")
        assert wait_until(lambda: client.wait(1.0).mode is Mode.POLICY)
        second = RobotClient(process.endpoint, "intruder")
        second.wait(5.0)
        granted, reason = second.acquire()
        assert not granted
        assert "'test' commands this robot" in reason
        second.close()
        loop.stop()
        silent = time.monotonic()
        assert wait_until(lambda: client.wait(1.0).mode is Mode.DAMPING)
        assert time.monotonic() - silent < 1.0
        assert "target_damp" in client.wait(1.0).fault
        client.close()
        assert process.stop() == 0
