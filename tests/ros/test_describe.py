"""What is started is said once, and the real robot differs from the simulator where it must."""

from __future__ import annotations

import difflib
import socket
from pathlib import Path

import pytest

from ezm_runtime import describe as d
from runtime import cli, server

LAUNCH = Path(d.__file__).parents[1] / "launch"


def line(robot: str, **options) -> d.Line:
    return d.describe(robot, d.Options(**options), folder=Path("/tmp/x"), parent=7)


def test_launch_files_of_simulator_and_robot_differ_in_one_word():
    sim, real = ((LAUNCH / f"h1_{name}.launch.py").read_text().split() for name in ("sim", "real"))
    changed = [word for word in difflib.ndiff(sim, real) if word[0] in "+-"]
    assert changed == ['- h1("mujoco")', '+ h1("unitree")']


def test_only_the_simulated_robot_starts_by_itself():
    assert line("mujoco").node_parameters["autostart"] is True
    assert line("unitree").node_parameters["autostart"] is False
    assert not any("modes." in word for word in line("unitree").robot_argv)
    assert server.base_config("mujoco").modes.autostart
    assert not server.base_config("unitree").modes.autostart
    assert not server.base_config("unitree").modes.auto_reset


def test_both_processes_meet_at_one_endpoint_and_know_their_parent():
    described = line("mujoco")
    assert described.node_parameters["endpoint"] == described.endpoint == "ipc:///tmp/x/mujoco"
    assert f"endpoint={described.endpoint}" in described.robot_argv
    assert described.node_parameters["parent"] == 7
    assert "parent=7" in described.robot_argv


def test_ros_reads_every_parameter_back_with_its_type():
    yaml = pytest.importorskip("yaml")
    described = line("mujoco", policy="odd name: 1.onnx", task="yes", heading=1.0)
    words = [word for word in described.node_argv if ":=" in word]
    back = {name: yaml.safe_load(value) for name, _, value in (w.partition(":=") for w in words)}
    assert back == described.node_parameters
    assert {name: type(value) for name, value in back.items()} == {
        name: type(value) for name, value in described.node_parameters.items()
    }


@pytest.mark.parametrize("robot", d.ROBOTS)
def test_the_robot_process_understands_every_word(robot):
    words = line(robot, interface="eth1" if robot == "unitree" else "").robot_argv[3:]
    config = cli.parse(server.base_config(robot), words)
    assert (config.robot, config.task, config.parent) == (robot, "stand", 7)


def test_an_unknown_robot_is_refused_with_what_exists():
    with pytest.raises(ValueError, match="'g1' unknown; there are"):
        line("g1")


def test_a_persons_own_discovery_settings_are_left_alone(monkeypatch):
    for name in (
        "FASTDDS_DEFAULT_PROFILES_FILE",
        "FASTRTPS_DEFAULT_PROFILES_FILE",
        "ROS_AUTOMATIC_DISCOVERY_RANGE",
    ):
        monkeypatch.delenv(name, raising=False)
    assert "FASTDDS_DEFAULT_PROFILES_FILE" in d.loopback_environment()
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    assert d.loopback_environment() == {}


@pytest.mark.parametrize("domain", ["0", "", None])
def test_ros_stays_off_the_domain_of_a_real_robot(monkeypatch, domain):
    monkeypatch.delenv("ROS_DOMAIN_ID")
    if domain is not None:
        monkeypatch.setenv("ROS_DOMAIN_ID", domain)
    line("mujoco")
    with pytest.raises(ValueError, match="the real robot's own"):
        line("unitree")


def test_a_domain_in_use_is_passed_over():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 7400 + 250 * 60 + 10))
        assert d.free_domain([60, 61]) == 61
