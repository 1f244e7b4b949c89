"""What is started is said once, and the real robot differs from the simulator where it must."""

from __future__ import annotations

import ast
import socket
from pathlib import Path

import pytest

from ezm_runtime import describe as d
from runtime import cli, server

LAUNCH = Path(d.__file__).parents[1] / "launch"


def line(robot: str, **options) -> d.Line:
    return d.describe(robot, d.Options(**options), folder=Path("/tmp/x"), parent=7)


def real(**options) -> d.Line:
    return line("unitree", network_interface="eth0", **options)


def test_launch_files_of_simulator_and_robot_differ_in_one_word():
    sim, real = (
        ast.parse((LAUNCH / f"h1_{name}.launch.py").read_text()) for name in ("sim", "real")
    )
    words = [
        [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        for tree in (sim, real)
    ]
    changed = [pair for pair in zip(*words, strict=True) if "\n" not in pair[0] + pair[1]]
    assert [pair for pair in changed if not pair[0].endswith(".")] == [("mujoco", "unitree")]
    assert (
        ast.dump(sim.body[-1]).replace("mujoco", "unitree").split("Return")[1]
        == (ast.dump(real.body[-1]).split("Return")[1])
    )


def test_only_the_simulated_robot_starts_by_itself():
    assert line("mujoco").node_parameters["autostart"] is True
    assert real().node_parameters["autostart"] is False
    assert not any("modes." in word for word in real().robot_argv)
    assert server.base_config("mujoco").modes.autostart
    assert not server.base_config("unitree").modes.autostart
    assert not server.base_config("unitree").modes.auto_reset


def test_both_processes_meet_at_one_endpoint_and_know_their_parent():
    described = line("mujoco")
    assert described.node_parameters["endpoint"] == described.endpoint == "ipc:///tmp/x/mujoco"
    assert f"endpoint={described.endpoint}" in described.robot_argv
    assert described.node_parameters["parent"] == 7
    assert "parent=7" in described.robot_argv


def test_how_phrases_are_understood_reaches_the_node():
    assert line("mujoco").node_parameters["phrases"] == "spelling"
    assert real(phrases="meaning").node_parameters["phrases"] == "meaning"


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
    words = line(robot, network_interface="eth1" if robot == "unitree" else "").robot_argv[3:]
    config = cli.parse(server.base_config(robot), words)
    assert (config.robot, config.task, config.parent) == (robot, "stand", 7)
    assert robot == "mujoco" or (config.interface, config.motion) == ("eth1", "check")


def test_a_real_robot_needs_a_network_interface_and_is_told_which_there_are():
    with pytest.raises(ValueError, match=r"needs network_interface:=.*'lo'"):
        line("unitree")


def test_a_real_robot_is_recorded_unless_told_otherwise_and_a_simulated_one_is_not():
    assert "recorder" in real().listeners
    assert real().node_parameters["record"] is True
    assert "recorder" not in real(record="false").listeners
    assert line("mujoco").listeners == {}
    assert line("mujoco").node_parameters["record"] is False
    said = line("mujoco", record="there.mcap").listeners["recorder"]
    assert any(word.endswith("/there.mcap") for word in said)
    with pytest.raises(ValueError, match=r"ending in \.mcap"):
        line("mujoco", record="there.bag")


def test_words_for_the_robot_process_reach_it():
    words = real(server="guard.rate_limit=5,modes.ramp_time=6").robot_argv[3:]
    config = cli.parse(server.base_config("unitree"), words)
    assert (config.guard.rate_limit, config.modes.ramp_time) == (5.0, 6.0)


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
        real()


def test_a_domain_in_use_is_passed_over():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 7400 + 250 * 60 + 10))
        assert d.free_domain([60, 61]) == 61
