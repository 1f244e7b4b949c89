"""The real H1's bridge against a double of the robot's computer on loopback."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from cyclonedds.domain import DomainParticipant
from cyclonedds.pub import DataWriter
from cyclonedds.topic import Topic

from runtime import h1
from runtime import unitree_api as api
from runtime import unitree_frames as frames
from runtime import unitree_layout as layout
from runtime.double_body import StateFrame
from runtime.guard import Action, GuardConfig
from runtime.h1_double import MotionService
from runtime.modes import Mode
from runtime.observation import gravity_of
from runtime.robot import RobotError
from runtime.server import RobotServer, ServerConfig
from runtime.server_link import RobotServerLink
from runtime.state import JointTargets, RobotState
from runtime.unitree_dds import COMMANDS, STATES, configuration, join, reader, writer
from runtime.unitree_idl import LowCmd, LowState
from runtime.unitree_robot import UnitreeRobot

# each test its own, above those of tests/ros: what one leaves behind is no other's business
DOMAINS = itertools.count(150)
UPRIGHT = np.array([1.0, 0.0, 0.0, 0.0])


class Double:
    """Publishes LowState at 500 Hz and keeps what it is told, like the robot's own computer."""

    def __init__(self) -> None:
        self.domain = next(DOMAINS)
        self.participant = join("lo", self.domain)
        self.writer = writer(self.participant, STATES, LowState)
        self.reader = reader(self.participant, COMMANDS, LowCmd)
        self.service = MotionService(self.participant, "")
        self.q, self.buttons = h1.DEFAULT_POSE.copy(), ()
        self.orientation = UPRIGHT
        self.spoil = self.bare = self.silent = self.frozen = self.deaf = False
        self.heard: list[bytes] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        tick, frame = 0, StateFrame()
        while not self._stop.wait(0.002):
            tick += not self.frozen
            frame.press(*self.buttons)
            dq = np.full(19, 1e-3 * np.sin(tick))  # sensors are never quite still
            frame.fill(RobotState(0.0, self.orientation, np.zeros(3), self.q, dq), tick)
            payload = bytearray(frame.payload())
            if self.spoil:
                payload[200] ^= 1
            if self.bare:
                payload[-4:] = bytes(4)
            if not self.silent:
                self.writer.write(LowState.deserialize(bytes(payload)))
            self.heard += [sample.raw for sample in self.reader.take(8) if hasattr(sample, "raw")]
            if not self.deaf:
                self.service.serve()

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
    robot = UnitreeRobot("lo", domain=double.domain)
    yield robot
    robot.close()


def read_until(robot: UnitreeRobot, true, timeout: float = 15.0) -> bool:
    """Read the robot until something is true of it."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        robot.read()
        if true():
            return True
        time.sleep(0.002)
    return False


def test_states_come_in_by_joint_and_commands_go_out_with_a_right_crc(double, robot):
    double.q = h1.DEFAULT_POSE + np.linspace(-0.1, 0.1, 19)
    assert read_until(robot, lambda: abs(robot.read().joint_position - double.q).max() < 1e-6)
    assert time.monotonic() - robot.read().stamp < 0.2
    targets = JointTargets(1, 0.0, np.linspace(-0.2, 0.2, 19), h1.STIFFNESS, h1.DAMPING)
    double.heard.clear()
    deadline = time.monotonic() + 5.0
    while len(double.heard) < 5 and time.monotonic() < deadline:
        robot.write(targets)
        time.sleep(0.005)
    command = frames.CommandFrame()
    command.fill(targets)
    assert double.heard
    assert set(double.heard) == {command.payload()}


def test_a_broken_crc_is_counted_and_never_read(double, robot):
    before = robot.read()
    double.q, double.spoil = double.q + 0.5, True
    assert read_until(robot, lambda: robot.broken > 30)
    np.testing.assert_allclose(robot.read().joint_position, before.joint_position, atol=1e-6)
    assert robot.health.broken_run > 0
    double.spoil = False
    assert read_until(robot, lambda: robot.health.broken_run == 0)


def test_ahead_is_where_the_robot_faces_when_policy_is_entered(double, robot):
    """An IMU's zero lies anywhere; only how far the robot has turned since then is a heading."""

    def leaning(yaw: float) -> np.ndarray:  # 0.2 rad forward, then turned
        c, s, cy, sy = np.cos(0.1), np.sin(0.1), np.cos(yaw / 2), np.sin(yaw / 2)
        return np.array([cy * c, -sy * s, cy * s, sy * c])

    def reads(yaw: float) -> bool:
        return bool(abs(abs(robot.read().orientation @ leaning(yaw)) - 1.0) < 1e-6)

    double.orientation = leaning(2.5)
    assert read_until(robot, lambda: reads(0.0))
    gravity = gravity_of(robot.read().orientation)
    np.testing.assert_allclose(gravity, [np.sin(0.2), 0.0, -np.cos(0.2)], atol=1e-6)
    robot.release()
    double.orientation = leaning(2.9)
    assert read_until(robot, lambda: reads(0.4)), "in POLICY it counts"
    robot.catch()
    assert read_until(robot, lambda: reads(0.0)), "in HOLD it is led"


def test_a_frozen_state_grows_old_although_messages_keep_coming(double, robot):
    double.frozen = True
    assert read_until(robot, lambda: robot.frozen > 20)
    assert time.monotonic() - robot.read().stamp > 0.03


def test_the_remote_s_stop_buttons_raise_the_alarm(double, robot):
    double.buttons = ("select", "up")
    assert read_until(robot, lambda: robot.alarm == "remote: select")


def test_it_refuses_to_start_beside_another_commander(double):
    other = DomainParticipant(double.domain)
    writer = DataWriter(other, Topic(other, COMMANDS, LowCmd))
    with pytest.raises(RobotError, match=r"somebody else publishes rt/lowcmd"):
        UnitreeRobot("lo", domain=double.domain)
    del writer


def test_another_commander_that_appears_later_raises_the_alarm(double, robot):
    assert not read_until(robot, lambda: bool(robot.alarm), 0.3)
    other = DomainParticipant(double.domain)
    writer = DataWriter(other, Topic(other, COMMANDS, LowCmd))
    assert read_until(robot, lambda: robot.alarm == "another publisher on rt/lowcmd")
    del writer


def test_an_active_motion_program_is_refused_unless_it_may_be_released(double):
    double.service.select("ai")
    with pytest.raises(RobotError, match=r"motion program 'ai' is active.*motion=release"):
        UnitreeRobot("lo", domain=double.domain)
    assert double.service.name == "ai"
    robot = UnitreeRobot("lo", domain=double.domain, motion="release")
    assert robot.released == ["ai"]
    assert double.service.name == ""
    assert api.RELEASE_MODE in double.service.calls
    robot.close()


def test_a_motion_program_that_comes_back_raises_the_alarm_and_is_released_again(double):
    robot = UnitreeRobot("lo", domain=double.domain, motion="release")
    double.service.name = "ai"  # back, and as yet without a writer of its own
    assert read_until(robot, lambda: robot.alarm == "motion program 'ai' is back")
    assert read_until(robot, lambda: double.service.name == "" and not robot.alarm)
    robot.close()


def test_without_a_motion_switcher_it_starts_only_when_told_to_ignore_that(double):
    double.deaf = True
    with pytest.raises(RobotError, match=r"does not answer.*motion=ignore"):
        UnitreeRobot("lo", domain=double.domain, patience=0.6)
    UnitreeRobot("lo", domain=double.domain, motion="ignore").close()


@pytest.mark.parametrize("data", ["", "[]", "nonsense", '{"name": 3}'])
def test_an_unreadable_answer_of_the_switcher_counts_as_an_active_program(data):
    assert api._name(data)
    assert api._name(json.dumps({"form": "0", "name": ""})) == ""


def test_an_interface_that_does_not_exist_is_named_and_so_are_those_that_do():
    with pytest.raises(RobotError, match=r"cannot use interface 'nowhere0'.*'lo'"):
        UnitreeRobot("nowhere0", domain=next(DOMAINS))


def test_it_refuses_to_start_without_a_state():
    with pytest.raises(RobotError, match=r"no whole rt/lowstate within 0.2 s"):
        UnitreeRobot("lo", domain=next(DOMAINS), patience=0.2)


def test_states_that_carry_no_crc_are_refused_and_the_reason_is_told(double):
    """So does unitree_mujoco's Python simulator."""
    double.bare = True
    with pytest.raises(RobotError, match=r"broken ones, without a CRC, as unitree_mujoco's"):
        UnitreeRobot("lo", domain=double.domain, patience=0.5)


def test_a_word_that_is_no_way_to_treat_the_motion_program_is_refused():
    with pytest.raises(RobotError, match="motion=perhaps: expected one of"):
        UnitreeRobot("lo", domain=next(DOMAINS), motion="perhaps")


def test_a_silent_robot_ends_in_damping_and_the_remote_in_an_emergency_stop(
    double, robot, tmp_path
):
    link = RobotServerLink(f"ipc://{tmp_path}/h1")
    limits = GuardConfig(
        state_limit=0.3, frozen_limit=0.5, deadline=Action.OFF
    )  # test machines are busy
    server = RobotServer(robot, link, ServerConfig(robot="unitree", guard=limits))
    server.machine.mode = server.machine.goal = Mode.HOLD
    for _ in range(20):
        server.tick(time.monotonic())
        time.sleep(0.002)
    assert server.machine.mode is Mode.HOLD, server.guard.last
    double.silent, begin = True, time.monotonic()
    while server.machine.mode is Mode.HOLD and time.monotonic() - begin < 5.0:
        server.tick(time.monotonic())
        time.sleep(0.002)
    assert server.machine.mode is Mode.DAMPING
    assert 0.2 < time.monotonic() - begin < 2.0
    double.silent, double.buttons = False, ("B",)
    deadline = time.monotonic() + 3.0
    while server.machine.mode is not Mode.ESTOP and time.monotonic() < deadline:
        server.tick(time.monotonic())
        time.sleep(0.002)
    assert server.machine.mode is Mode.ESTOP
    assert server.machine.reason == "remote: B"
    link.close()


def test_every_message_has_the_layout_that_the_binding_itself_writes():
    """The hand-made CDR against the DDS binding's own serialiser, field by field."""
    from dataclasses import fields, is_dataclass

    from cyclonedds.idl import IdlStruct

    def build(kind, rng):
        values = []
        for item in fields(kind):
            values.append(value_of(item.type, rng))
        return kind(*values)

    def value_of(kind, rng):
        inner, length = getattr(kind, "__metadata__", None), None
        if is_dataclass(kind):
            return build(kind, rng)
        if inner is not None and hasattr(inner[0], "length"):
            length, subtype = inner[0].length, inner[0].subtype
            return [value_of(subtype, rng) for _ in range(length)]
        name = str(inner[0] if inner else kind)
        return float(np.float32(rng.normal())) if "float" in name else int(rng.integers(0, 100))

    message = build(LowState, np.random.default_rng(0))
    payload = IdlStruct.serialize(message)
    payload = payload.ljust(-(-len(payload) // 4) * 4, b"\0")
    record = np.frombuffer(payload, layout.STATE_RECORD)[0]
    assert len(payload) == layout.STATE.size
    assert [motor.q for motor in message.motor_state] == record["motor"]["q"].tolist()
    assert [motor.lost for motor in message.motor_state] == record["motor"]["lost"].tolist()
    heat = [motor.temperature for motor in message.motor_state]
    assert heat == record["motor"]["temperature"].tolist()
    assert message.imu_state.quaternion == record["quaternion"].tolist()
    assert message.imu_state.gyroscope == record["gyroscope"].tolist()
    assert (message.bms_state.soc, message.bms_state.current) == (record["soc"], record["current"])
    assert (message.tick, message.crc) == (record["tick"], record["crc"])
    assert message.wireless_remote == record["wireless_remote"].tolist()
    assert message.power_v == record["power_v"]
    modes = np.frombuffer(payload, np.uint8)[layout.STATE_MODE_BYTES]
    assert [motor.mode for motor in message.motor_state] == modes.tolist()
    command = build(LowCmd, np.random.default_rng(1))
    payload = IdlStruct.serialize(command)
    record = np.frombuffer(payload, layout.COMMAND_RECORD)[0]
    for name in ("q", "dq", "tau", "kp", "kd"):
        assert [getattr(m, name) for m in command.motor_cmd] == record["motor"][name].tolist()
    assert (command.gpio, command.crc) == (record["gpio"], record["crc"])
