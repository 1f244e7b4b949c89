"""LowCmd and LowState against golden vectors, a bit-by-bit CRC, and CDR written field by field."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import h1
from runtime import unitree_frames as frames
from runtime import unitree_layout as layout
from runtime.double_body import StateFrame
from runtime.observation import gravity_of, yaw_of
from runtime.state import JointTargets, RobotState


def bitwise_crc(words: bytes) -> int:
    """The CRC by its definition, one bit at a time."""
    crc = 0xFFFFFFFF
    for (word,) in struct.iter_unpack("<I", words[:-4]):
        for bit in range(31, -1, -1):
            feedback = (crc >> 31) ^ (word >> bit & 1)
            crc = (crc << 1) & 0xFFFFFFFF
            if feedback:
                crc ^= 0x04C11DB7
    return crc


class CdrWriter:
    """Plain little-endian CDR: every number aligned to its own size, counted from the body."""

    def __init__(self) -> None:
        self.body = b""

    def put(self, code: str, *values: float) -> None:
        size = struct.calcsize("<" + code)
        for value in values:
            self.body += b"\0" * (-len(self.body) % size)
            self.body += struct.pack("<" + code, value)

    def payload(self) -> bytes:
        return layout.HEADER + self.body


def c_struct(items: list[tuple[str, tuple[float, ...]]]) -> bytes:
    """The same numbers as a C compiler lays them out: padding inside and behind nested structs."""
    layout = "@" + " ".join(f"{len(values)}{code}" for code, values in items)
    return struct.pack(layout, *(value for _, values in items for value in values))


def random_low_state(seed: int) -> tuple[bytes, dict[str, np.ndarray]]:
    """A LowState in CDR, field by field in the order of the message, with a bitwise CRC."""
    rng = np.random.default_rng(seed)
    q, dq, tau = (rng.normal(size=20).astype(np.float32) for _ in range(3))
    quaternion, gyro = rng.normal(size=4).astype(np.float32), rng.normal(size=3).astype(np.float32)
    modes, heat = rng.integers(0, 255, 20), rng.integers(20, 80, 20)
    head = [("B", (0xFE, 0xEF, 0xFF, 1)), ("I", (1, 2)), ("I", (3, 4)), ("H", (5,))]
    imu = [("f", (*quaternion, *gyro, *rng.normal(size=6))), ("b", (33,))]
    motors = []
    for i in range(20):
        numbers = (q[i], dq[i], 0.5, tau[i], 1.5, 2.5, 3.5)
        motors += [("B", (modes[i],)), ("f", numbers), ("b", (heat[i],)), ("I", (i, 7, 8))]
    battery = [("B", (1, 2, 3, 99)), ("i", (-5,)), ("H", (6,)), ("b", (1, 2, 3, 4))]
    battery += [("H", tuple(range(15)))]
    rest = [("h", tuple(range(8))), ("I", (123456,)), ("B", (*([0] * 40), 9)), ("f", (1.25,))]
    rest += [("b", (30, 31)), ("f", (58.0, 2.0)), ("H", (1, 2, 3, 4)), ("I", (77,))]
    # a C compiler aligns each nested struct's end to its own alignment
    packed = c_struct([*head, *imu]) + b"\0" * 3
    for i in range(20):
        packed += c_struct(motors[4 * i : 4 * i + 4])
    packed += c_struct(battery) + c_struct(rest[:3]) + b"\0" * 3 + c_struct(rest[3:])
    packed += b"\0" * 4
    crc = bitwise_crc(packed)
    writer = CdrWriter()
    for code, values in [*head, *imu, *motors, *battery, *rest, ("I", (crc,))]:
        writer.put(code, *values)
    parts = {"q": q, "dq": dq, "tau": tau, "quaternion": quaternion, "gyro": gyro}
    return writer.payload(), parts


def test_golden_crcs():
    assert layout.crc32(bytes(812)) == 0x4B5A4880
    assert layout.crc32(bytes(1180)) == 0x85F11EA6
    command = frames.CommandFrame()
    assert int.from_bytes(command.payload()[-4:], "little") == 0xF6575A86
    zeros = np.zeros(19)
    damping = JointTargets(0, 0.0, zeros, zeros, np.full(19, 8.0))
    command.fill(damping)
    motor = command.record["motor"]  # the golden vector has them in slot 9 too
    motor["q"], motor["dq"], motor["kd"] = 0.0, 0.0, 8.0
    assert int.from_bytes(command.payload()[-4:], "little") == 0xC816EA6E


@settings(max_examples=30, deadline=None)
@given(st.binary(min_size=4, max_size=200))
def test_the_crc_is_the_one_by_definition(data):
    data = data[: len(data) // 4 * 4]
    assert layout.crc32(data) == bitwise_crc(data)


def test_a_command_travels_as_cdr_written_field_by_field():
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=19) for _ in range(5)]
    targets = JointTargets(1, 0.0, rows[0], rows[1], rows[2], rows[3], rows[4])
    command = frames.CommandFrame()
    command.fill(targets)
    writer = CdrWriter()
    writer.put("B", 0xFE, 0xEF, 0xFF, 0)
    writer.put("I", 0, 0, 0, 0)
    writer.put("H", 0)
    joint_of = {slot: h1.JOINT_NAMES.index(name) for name, slot in h1.MOTOR_INDEX.items()}
    for slot in range(20):
        writer.put("B", 0x0A if slot < 10 else 0x01)
        if slot in joint_of:
            j = joint_of[slot]
            writer.put("f", rows[0][j], rows[3][j], rows[4][j], rows[1][j], rows[2][j])
        else:
            writer.put("f", layout.NO_POSITION, layout.NO_VELOCITY, 0, 0, 0)
        writer.put("I", 0, 0, 0)
    writer.put("B", *([0] * (4 + 40 + 12 + 2 + 1)))
    writer.put("I", 0, bitwise_crc(layout.COMMAND.struct(command.payload())))
    assert command.payload() == writer.payload()
    assert len(command.payload()) == 812


@pytest.mark.parametrize("seed", range(5))
def test_a_state_is_read_by_joint_name_and_its_crc_is_checked(seed):
    payload, parts = random_low_state(seed)
    assert len(payload) == 1180
    assert frames.is_whole(payload)
    state = frames.robot_state(payload, 1.5)
    for joint, name in enumerate(h1.JOINT_NAMES):
        slot = h1.MOTOR_INDEX[name]
        assert state.joint_position[joint] == parts["q"][slot]
        assert state.joint_velocity[joint] == parts["dq"][slot]
        assert state.joint_torque[joint] == parts["tau"][slot]
    assert np.isnan(state.base_position).all()
    for place in (10, 24, 77, 100, 500, 1050, 1100, 1179):
        broken = bytearray(payload)
        broken[place] ^= 1
        assert not frames.is_whole(bytes(broken)), place
    assert not frames.is_whole(payload[:-1])


def quaternion_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    vector = a[0] * b[1:] + b[0] * a[1:] + np.cross(a[1:], b[1:])
    return np.array([a[0] * b[0] - a[1:] @ b[1:], *vector])


@pytest.mark.parametrize("seed", range(5))
def test_the_torso_s_imu_is_turned_to_the_pelvis(seed):
    """Forward: the torso is the pelvis turned by the waist about z; then back."""
    rng = np.random.default_rng(seed)
    pelvis = rng.normal(size=4)
    pelvis /= np.linalg.norm(pelvis)
    rate, waist, waist_rate = rng.normal(size=3), rng.uniform(-2, 2), rng.normal()
    turn = np.array([np.cos(waist / 2), 0, 0, np.sin(waist / 2)])
    torso = quaternion_product(pelvis, turn)
    back = np.array(
        [[np.cos(waist), np.sin(waist), 0], [-np.sin(waist), np.cos(waist), 0], [0, 0, 1]]
    )
    gyro = back @ rate + [0, 0, waist_rate]
    orientation, angular = frames.pelvis_from_torso(torso, gyro, waist, waist_rate)
    np.testing.assert_allclose(orientation, pelvis, atol=1e-12)
    np.testing.assert_allclose(angular, rate, atol=1e-12)
    orientation, angular = frames.torso_from_pelvis(pelvis, rate, waist, waist_rate)
    np.testing.assert_allclose(orientation, torso, atol=1e-12)
    np.testing.assert_allclose(angular, gyro, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_yaw_is_counted_from_where_the_robot_faced_and_gravity_stays(seed):
    payload, _ = random_low_state(seed)
    raw = frames.robot_state(payload, 0.0)
    yaw = frames.facing_of(payload)
    assert abs(yaw - yaw_of(raw.orientation)) < 1e-12
    for facing, left in ((None, 0.0), (yaw, 0.0), (yaw - 0.4, 0.4), (yaw + 2.0, -2.0)):
        state = frames.robot_state(payload, 0.0, facing)
        turn = np.array([np.cos((yaw - left) / 2), 0, 0, np.sin((yaw - left) / 2)])
        back = quaternion_product(turn, state.orientation)
        np.testing.assert_allclose(back, raw.orientation, atol=1e-12)
        assert abs(yaw_of(state.orientation) - left) < 1e-12
        np.testing.assert_array_equal(state.angular_velocity, raw.angular_velocity)
        down = gravity_of(state.orientation)
        np.testing.assert_allclose(down, gravity_of(raw.orientation), atol=1e-12)


def test_buttons_and_hot_motors_are_named():
    payload, _ = random_low_state(0)
    assert frames.buttons(payload) == frozenset()
    assert frames.motor_faults(payload) == ""
    pressed = bytearray(payload)
    pressed[4 + 1100 + 2 : 4 + 1100 + 4] = struct.pack("<H", 1 << 9 | 1 << 3)
    assert frames.buttons(bytes(pressed)) == {"B", "select"}
    knee = h1.MOTOR_INDEX["left_knee"]
    pressed[4 + 76 + 48 * knee + 32] = 95
    assert frames.motor_faults(bytes(pressed)) == "left_knee at 95 degC"


def test_every_button_and_stick_of_the_remote_is_decoded():
    """Bytes 2..3: keys; then lx, rx, ry, L2, ly as floats."""
    names = [
        "R1",
        "L1",
        "start",
        "select",
        "R2",
        "L2",
        "F1",
        "F2",
        "A",
        "B",
        "X",
        "Y",
        "up",
        "right",
        "down",
        "left",
    ]
    payload = bytearray(random_low_state(0)[0])
    for bit, name in enumerate(names):
        payload[1104 : 1104 + 24] = struct.pack("<2xH5f", 1 << bit, 0.1, 0.2, 0.3, 0.4, 0.5)
        remote = frames.remote(bytes(payload))
        assert remote.buttons == frames.buttons(bytes(payload)) == {name}
    sticks = (remote.lx, remote.rx, remote.ry, remote.l2, remote.ly)
    np.testing.assert_allclose(sticks, (0.1, 0.2, 0.3, 0.4, 0.5), rtol=1e-6)


def test_health_is_read_by_joint_with_signed_temperatures():
    payload = bytearray(random_low_state(3)[0])
    elbow = h1.JOINT_NAMES.index("right_elbow")
    payload[80 + 48 * 15 + 32] = 0xF6  # -10 degC in a signed byte
    health = frames.health(bytes(payload), 4, 2)
    assert health.temperature[elbow] == -10.0
    assert health.lost.tolist() == [h1.MOTOR_INDEX[name] for name in h1.JOINT_NAMES]
    assert (health.battery, health.broken, health.broken_run) == (99.0, 4, 2)


@pytest.mark.parametrize("seed", range(3))
def test_what_the_double_sends_is_what_the_bridge_reads(seed):
    rng = np.random.default_rng(seed)
    quaternion = rng.normal(size=4)
    rows = [rng.normal(size=19) for _ in range(3)]
    state = RobotState(0.0, quaternion / np.linalg.norm(quaternion), rng.normal(size=3), *rows)
    frame = StateFrame()
    frame.fill(state, 7)
    payload = frame.payload()
    assert frames.is_whole(payload)
    assert int.from_bytes(payload[-4:], "little") == bitwise_crc(layout.STATE.struct(payload))
    back = frames.robot_state(payload, 2.5)
    assert back.stamp == 2.5
    for name in ("orientation", "angular_velocity", "joint_position", "joint_velocity"):
        np.testing.assert_allclose(getattr(back, name), getattr(state, name), atol=2e-6)
