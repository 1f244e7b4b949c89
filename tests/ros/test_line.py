"""A policy node and a robot process, two processes, talk over ROS and over the wire."""

from __future__ import annotations

import os
import signal
import time

import pytest

pytest.importorskip("rclpy", reason="the ROS wheels are not installed")

from ezm_runtime.watch import ACTIVATE, CLEANUP, CONFIGURE, DEACTIVATE
from runtime.link import RobotClient
from runtime.modes import Mode

NEVER = lambda: False  # noqa: E731


def poll(true, timeout: float) -> bool:
    """Poll `true` for at most `timeout` seconds; return what it said last."""
    deadline = time.monotonic() + timeout
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    return true()


def damped(robot: RobotClient) -> bool:
    """Tell damping for good from a fall, after which the simulator starts again."""
    reading = robot.reading()
    return reading.mode is Mode.DAMPING and reading.goal is Mode.DAMPING


@pytest.fixture
def robot(line, processes):
    """A robot process and an observer of it."""
    processes.start(line.robot_argv, "robot")
    client = RobotClient(line.endpoint, name="observer")
    client.wait(20.0)
    yield client
    client.close()


@pytest.fixture
def node(robot, line, processes, watch):
    """A policy node in POLICY."""
    child = processes.start(line.node_argv, "node")
    assert watch.change(CONFIGURE, 30.0, NEVER), processes.said("node")
    assert watch.change(ACTIVATE, 30.0, NEVER), processes.said("node")
    assert watch.spin(lambda: watch.mode == "POLICY", 30.0), processes.said("robot")
    return child


def test_joint_states_and_targets_flow_at_rate(node, watch):
    watch.spin(NEVER, 3.0)
    kept = min(watch.joints.hz, watch.targets.hz) > 35.0
    assert kept or watch.record["deadline_misses"]  # kept the pace, or says so
    assert max(watch.joints.hz, watch.targets.hz) < 60.0
    assert watch.record["task"] == "stand"
    assert watch.record["tick_us_p99"] > 0.0
    assert not watch.record["error"]


def test_robot_is_damped_within_a_second_of_a_killed_policy(node, robot):
    assert poll(lambda: robot.reading().mode is Mode.POLICY, 5.0)
    os.kill(node.pid, signal.SIGKILL)
    assert poll(lambda: damped(robot), 1.0), robot.reading()
    assert poll(lambda: robot.reading().age < 0.1, 1.0), "the robot process keeps talking"


def test_a_second_policy_node_is_refused_and_the_first_keeps_the_robot(
    node, line, robot, processes, watch
):
    other = type(watch)("second_watch", "second")
    try:
        processes.start((*line.node_argv, "-r", "__node:=second"), "second")
        assert other.change(CONFIGURE, 30.0, NEVER), processes.said("second")
        assert not other.change(ACTIVATE, 30.0, NEVER)
        assert "not activated" in processes.said("second")
    finally:
        other.close()
    assert robot.reading().goal is Mode.POLICY  # it may lie on the ground just now
    assert poll(lambda: robot.reading().target_age < 0.1, 1.0)


def test_node_goes_through_its_lifecycle_and_back(node, robot, watch, processes):
    assert watch.change(DEACTIVATE, 10.0, NEVER)
    assert poll(lambda: damped(robot), 2.0)
    before = watch.targets_total
    watch.spin(NEVER, 0.5)
    assert watch.targets_total - before <= 2, "an inactive node publishes no targets"
    assert watch.change(CLEANUP, 10.0, NEVER)
    assert watch.change(CONFIGURE, 10.0, NEVER), processes.said("node")
    assert watch.change(ACTIVATE, 10.0, NEVER), processes.said("node")
    assert poll(lambda: robot.reading().mode is Mode.POLICY, 20.0)


def test_estop_is_latched_until_reset(node, robot, watch):
    assert watch.trigger("estop")[0]
    assert poll(lambda: robot.reading().mode is Mode.ESTOP, 1.0)
    assert not watch.trigger("start")[0]
    assert watch.trigger("reset")[0]
    assert poll(lambda: damped(robot), 1.0)
    assert watch.trigger("start")[0]
    assert poll(lambda: robot.reading().mode is Mode.POLICY, 20.0)


def test_simulation_goes_on_after_a_stall_of_the_policy(node, robot):
    node.send_signal(signal.SIGSTOP)
    assert poll(lambda: damped(robot), 2.0)
    node.send_signal(signal.SIGCONT)
    assert poll(lambda: robot.reading().goal is Mode.POLICY, 5.0)


def test_estop_survives_deactivation(node, robot, watch):
    assert watch.trigger("estop")[0]
    assert watch.change(DEACTIVATE, 10.0, NEVER)
    assert poll(lambda: not robot.reading().commander, 3.0)
    assert robot.reading().mode is Mode.ESTOP


def test_task_changes_by_topic_and_unknown_tasks_do_not(node, robot, watch, processes):
    """By its name or in words; a refusal lists the tasks."""
    from std_msgs.msg import String

    publisher = watch.node.create_publisher(String, "/ezm_policy/task", 1)
    assert watch.spin(lambda: publisher.get_subscription_count() > 0, 10.0)
    said = "'make me a coffee' is not one of policy 'home pose': ['stand', 'walk']"
    assert poll(lambda: _publish(publisher, watch, "make me a coffee", said, processes), 10.0)
    assert watch.record["task"] == "stand"
    publisher.publish(String(data="walk forward slowly"))
    assert watch.spin(lambda: watch.record.get("task") == "walk", 5.0)
    assert poll(lambda: robot.reading().task == "walk", 2.0)
    publisher.publish(String(data="stand"))
    assert watch.spin(lambda: watch.record.get("task") == "stand", 5.0)


def _publish(publisher, watch, data: str, said: str, processes) -> bool:
    from std_msgs.msg import String

    publisher.publish(String(data=data))
    watch.spin(NEVER, 0.2)
    return said in processes.said("node")


def test_node_ends_by_itself_when_the_robot_process_is_gone(node, processes):
    processes.all[0].kill()
    assert poll(lambda: node.poll() is not None, 15.0)
    assert node.returncode == 1
    assert "no word from the robot" in processes.said("node")


def test_sigint_ends_the_node_cleanly_and_damps_the_robot(node, robot):
    node.send_signal(signal.SIGINT)
    assert poll(lambda: node.poll() is not None, 10.0)
    assert node.returncode == 0
    assert poll(lambda: damped(robot), 1.0)


def test_node_is_not_configured_without_a_policy_or_a_robot(line, processes, watch, tmp_path):
    missing = tmp_path / "missing.onnx"
    processes.start((*line.node_argv, "-p", f"policy:={missing}"), "node")
    assert not watch.change(CONFIGURE, 20.0, NEVER)
    assert "missing.onnx does not exist" in processes.said("node")
    assert processes.all[0].poll() is None, "it may be configured again"
