"""The real `ros2 launch` brings the line up. Needs launch_ros, which has no wheel: skipped without.

Run it with the pytest of a ROS 2 installation whose workspace holds ezm_runtime:
    . install/setup.bash && python -m pytest tests/ros/test_launch.py
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import time

import pytest

MISSING = [
    name for name in ("launch", "launch_ros", "ros2launch") if not importlib.util.find_spec(name)
]
pytestmark = [
    pytest.mark.ros_install,
    pytest.mark.skipif(
        bool(MISSING) or shutil.which("ros2") is None,
        reason=f"NOT TESTED HERE: `ros2 launch` needs a ROS 2 installation (missing: {MISSING})",
    ),
]


@pytest.fixture
def launched(policy, processes):
    """`ros2 launch ezm_runtime h1_sim.launch.py`, interrupted at the end."""
    argv = ("ros2", "launch", "ezm_runtime", "h1_sim.launch.py", f"policy:={policy}")
    child = processes.start(argv, "launch")
    yield child
    if child.poll() is None:
        child.send_signal(signal.SIGINT)
        child.wait(20.0)


def poll(true, timeout: float) -> bool:
    """Poll `true` for at most `timeout` seconds; return what it said last."""
    deadline = time.monotonic() + timeout
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    return true()


def children_of(pid: int) -> list[int]:
    """Return the direct children of a process."""
    done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(word) for word in done.stdout.split()]


def running(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


def test_launch_reaches_policy_and_messages_flow(launched, watch, processes):
    assert watch.spin(lambda: watch.mode == "POLICY", 60.0), processes.said("launch")
    watch.spin(lambda: False, 3.0)
    assert watch.joints.hz > 35.0
    assert watch.targets.hz > 35.0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_the_launch(launched, watch, processes, number):
    assert watch.spin(lambda: watch.mode == "POLICY", 60.0), processes.said("launch")
    children = children_of(launched.pid)
    assert len(children) >= 2
    launched.send_signal(number)
    assert poll(lambda: not any(map(running, children)), 15.0), processes.said("launch")
