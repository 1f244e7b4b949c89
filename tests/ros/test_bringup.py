"""Bringup runs the whole line, says what it saw in one line of JSON, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="the ROS wheels are not installed")

from runtime.session import TOO_SLOW

KEYS = {
    *("task", "seconds", "falls", "return", "control_hz", "deadline_misses"),
    *("tick_us_p50", "tick_us_p99", "policy", "transport"),
}


def start(*words: str, folder: Path) -> subprocess.Popen:
    """Start bringup; its temporary files go to `folder`."""
    return subprocess.Popen(
        [sys.executable, "-m", "ezm_runtime.bringup", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )


def finish(child: subprocess.Popen, timeout: float = 60.0) -> tuple[int, str, str]:
    """Wait for the end; return (exit code, stdout, stderr)."""
    try:
        out, err = child.communicate(timeout=timeout)
    finally:
        child.kill()
    return child.returncode, out, err


def survivors(folder: Path) -> list[str]:
    """Return command lines of processes that still name `folder`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(folder) in words:
            found.append(words.replace("\0", " "))
    return found


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short folder: ipc paths are limited."""
    return tmp_path_factory.mktemp("b")


def test_a_run_ends_with_the_promised_json_and_exit_code_0(policy, folder):
    words = (f"policy={policy}", "duration=3", "task=just stand there")
    code, out, err = finish(start(*words, folder=folder))
    lines = out.strip().splitlines()
    summary = json.loads(lines[-1])
    slow = code == TOO_SLOW and "expected 50" in summary.pop("error")
    assert code == 0 or slow, out + err
    assert set(summary) == KEYS
    assert summary["transport"] == "ros2"
    assert summary["task"] == "stand"
    assert summary["seconds"] == pytest.approx(3.0, abs=1.0)
    assert 35.0 < summary["control_hz"] < 60.0 or slow
    assert sum("height" in line and " Hz" in line for line in lines) >= 3
    assert not survivors(folder)
    assert slow or not list(folder.glob("ezm-*")), "a good run leaves no files"


@pytest.mark.parametrize("after", [0.5, 1.5, 3.0, 6.0])
def test_ctrl_c_at_any_stage_ends_cleanly_with_json(policy, folder, after):
    child = start(f"policy={policy}", "duration=60", folder=folder)
    time.sleep(after)  # importing, starting processes, configuring, in POLICY
    child.send_signal(signal.SIGINT)
    code, out, err = finish(child, 30.0)
    assert "Traceback" not in err
    if out:  # early on there is nothing to sum up yet
        summary = json.loads(out.strip().splitlines()[-1])
        assert (code == 0) == ("error" not in summary)
    else:
        assert code != 0
    assert not survivors(folder)


def test_children_end_by_themselves_when_bringup_is_killed(policy, folder):
    child = start(f"policy={policy}", "duration=60", folder=folder)
    deadline = time.monotonic() + 30.0
    while len(survivors(folder)) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(2.0)
    child.kill()
    child.communicate()
    deadline = time.monotonic() + 20.0
    while survivors(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not survivors(folder)


def test_a_policy_node_that_dies_is_reported_and_fails(policy, folder):
    child = start(f"policy={policy}", "duration=60", folder=folder)
    time.sleep(5.0)
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        words = entry.read_bytes().split(b"\0") if entry.exists() else []
        if b"ezm_runtime.policy_node" in words and str(folder).encode() in b" ".join(words):
            os.kill(int(entry.parent.name), signal.SIGKILL)
    code, out, _ = finish(child, 30.0)
    assert code == 1
    assert "the policy node ended with code -9" in json.loads(out.splitlines()[-1])["error"]
    assert not survivors(folder)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("polcy=x",), "did you mean 'policy'"),
        (("duration=long",), "expected float"),
        (("policy=missing.onnx",), "missing.onnx does not exist"),
        (("task=fly",), "['stand', 'walk']"),
        (("task=walk backwards",), "['stand', 'walk'] ('walk backwards' is near walk"),
        (("robot=g1",), "there are ['mujoco', 'unitree']"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_sentence_and_exit_code_2(policy, folder, words, said):
    code, out, err = finish(start(f"policy={policy}", *words, folder=folder))
    assert code == 2
    assert said in err
    assert "Traceback" not in err
    assert not out


def test_a_truncated_policy_is_refused(policy, folder, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(policy.read_bytes()[:200])
    code, _, err = finish(start(f"policy={broken}", folder=folder))
    assert code == 2
    assert "broken.onnx" in err
    assert "Traceback" not in err


def test_a_robot_that_cannot_be_opened_is_said_and_fails(policy, folder):
    """With CycloneDDS there is no such interface; without it there is no CycloneDDS."""
    words = (f"policy={policy}", "robot=unitree", "network_interface=nowhere0", "record=false")
    code, out, err = finish(start(*words, folder=folder))
    assert code == 1, err
    assert "CycloneDDS" in err
    assert "error" in json.loads(out.strip().splitlines()[-1])
    assert "robot process ended" in err
    assert not survivors(folder)
