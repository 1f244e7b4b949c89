"""The real H1's bridge against a double on loopback. Skipped where cyclonedds is missing."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("cyclonedds")

from cyclonedds.domain import DomainParticipant
from cyclonedds.pub import DataWriter
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic

from runtime import h1
from runtime import unitree_frames as frames
from runtime.modes import Mode
from runtime.robot import RobotError
from runtime.server import RobotServer, ServerConfig
from runtime.server_link import RobotServerLink
from runtime.state import JointTargets
from runtime.unitree_idl import LowCmd, LowState
from runtime.unitree_robot import COMMANDS, STATES, UnitreeRobot, configuration, newest_only

DOMAIN = 71


def low_state(tick: int, q: np.ndarray, remote: int = 0) -> bytes:
    """A LowState payload with these motor angles, by joint, and a right CRC."""
    body = np.zeros(1, frames.STATE)
    body["quaternion"], body["tick"] = (1.0, 0.0, 0.0, 0.0), tick
    body["motor"]["q"][0][frames.SLOTS] = q
    body["wireless_remote"][0][2:4] = tuple(struct.pack("<H", remote))
    payload = frames.HEADER + body.tobytes()
    crc = frames.crc32(frames.state_struct(payload))
    return payload[: 4 + 1172] + struct.pack("<I", crc)


class Double:
    """Publishes LowState at 500 Hz and keeps the last LowCmd, like the robot's own computer."""

    def __init__(self) -> None:
        self.participant = DomainParticipant(DOMAIN)
        self.writer = DataWriter(self.participant, Topic(self.participant, STATES, LowState))
        commands = Topic(self.participant, COMMANDS, LowCmd)
        self.reader = DataReader(self.participant, commands, qos=newest_only())
        self.q, self.remote, self.spoil, self.silent = h1.DEFAULT_POSE.copy(), 0, False, False
        self.heard: list[bytes] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        tick = 0
        while not self._stop.wait(0.002):
            tick += 1
            payload = bytearray(low_state(tick, self.q, self.remote))
            if self.spoil:
                payload[200] ^= 1
            if not self.silent:
                self.writer.write(LowState.deserialize(bytes(payload)))
            self.heard += [sample.raw for sample in self.reader.take(8) if hasattr(sample, "raw")]

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[Double]:
    monkeypatch.setenv("CYCLONEDDS_URI", configuration("lo"))
    double = Double()
    yield double
    double.close()


@pytest.fixture
def robot(double: Double) -> Iterator[UnitreeRobot]:
    robot = UnitreeRobot("lo", domain=DOMAIN)
    yield robot
    robot.close()


def test_states_come_in_by_joint_and_commands_go_out_with_a_right_crc(double, robot):
    double.q = h1.DEFAULT_POSE + np.linspace(-0.1, 0.1, 19)
    time.sleep(0.1)
    state = robot.read()
    np.testing.assert_allclose(state.joint_position, double.q, atol=1e-6)
    assert time.monotonic() - state.stamp < 0.1
    targets = JointTargets(1, 0.0, np.linspace(-0.2, 0.2, 19), h1.STIFFNESS, h1.DAMPING)
    double.heard.clear()
    for _ in range(20):
        robot.write(targets)
        time.sleep(0.005)
    command = frames.CommandFrame()
    command.fill(targets)
    assert double.heard
    assert set(double.heard) == {command.payload()}


def test_a_broken_crc_is_counted_and_never_read(double, robot):
    before = robot.read()
    double.q, double.spoil = double.q + 0.5, True
    time.sleep(0.1)
    after = robot.read()
    assert robot.broken > 0
    np.testing.assert_allclose(after.joint_position, before.joint_position, atol=1e-6)


def test_the_remote_s_stop_buttons_raise_the_alarm(double, robot):
    double.remote = 1 << 3
    time.sleep(0.1)
    robot.read()
    assert robot.alarm == "remote: select"


def test_it_refuses_to_start_beside_another_commander(double):
    other = DomainParticipant(DOMAIN)
    writer = DataWriter(other, Topic(other, COMMANDS, LowCmd))
    with pytest.raises(RobotError, match=r"somebody else publishes rt/lowcmd"):
        UnitreeRobot("lo", domain=DOMAIN)
    del writer


def test_an_interface_that_does_not_exist_is_named():
    with pytest.raises(RobotError, match="CycloneDDS cannot use interface 'nowhere0'"):
        UnitreeRobot("nowhere0", domain=DOMAIN + 2)


def test_it_refuses_to_start_without_a_state():
    with pytest.raises(RobotError, match=r"no whole rt/lowstate within 0.2 s"):
        UnitreeRobot("lo", domain=DOMAIN + 1, patience=0.2)


def test_a_silent_robot_ends_in_damping_and_the_remote_in_an_emergency_stop(
    double, robot, tmp_path
):
    link = RobotServerLink(f"ipc://{tmp_path}/h1")
    server = RobotServer(robot, link, ServerConfig(robot="unitree"))
    server.machine.mode = server.machine.goal = Mode.HOLD
    for _ in range(20):
        server.tick(time.monotonic())
        time.sleep(0.002)
    assert server.machine.mode is Mode.HOLD
    double.silent, begin = True, time.monotonic()
    while server.machine.mode is Mode.HOLD and time.monotonic() - begin < 2.0:
        server.tick(time.monotonic())
        time.sleep(0.002)
    assert server.machine.mode is Mode.DAMPING
    assert 0.05 < time.monotonic() - begin < 0.5
    double.silent, double.remote = False, 1 << 9
    time.sleep(0.1)
    server.tick(time.monotonic())
    assert server.machine.mode is Mode.ESTOP
    assert server.machine.reason == "remote: B"
    link.close()
