"""The double's drives, sensors and cables, without a network and with time that only tests move."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mujoco")

from runtime import h1
from runtime import unitree_frames as frames
from runtime import unitree_layout as layout
from runtime.double_body import Body, BodyConfig, Drives, StateFrame
from runtime.state import JointTargets, RobotState

DT = 0.002
HOME = JointTargets(1, 0.0, h1.DEFAULT_POSE, h1.STIFFNESS, h1.DAMPING)


def command(targets: JointTargets = HOME) -> bytes:
    frame = frames.CommandFrame()
    frame.fill(targets)
    return frame.payload()


def resigned(payload: bytes, at: int, value: int) -> bytes:
    """Return a command with one byte changed and a right CRC all the same."""
    changed = payload[:at] + bytes([value]) + payload[at + 1 :]
    return changed[:-4] + layout.COMMAND.crc(changed).to_bytes(4, "little")


def run(body: Body, seconds: float, payload: bytes | None, start: float = 0.0) -> list[bytes]:
    """Move time on, commanding in every tick; return what left for the network."""
    sent = []
    for tick in range(round(seconds / DT)):
        now = start + tick * DT
        if payload is not None:
            body.command(payload, now)
        sent += body.step(now)
    return sent


def test_drives_obey_by_joint_and_only_what_is_whole():
    rng = np.random.default_rng(0)
    rows = [rng.uniform(0.1, 1.0, 19) for _ in range(5)]
    drives = Drives(BodyConfig())
    assert drives.hear(command(JointTargets(0, 0.0, *rows)), 0.0)
    told = drives.targets(0.0)
    names = ("position", "stiffness", "damping", "velocity", "torque")
    for name, row in zip(names, rows, strict=True):
        np.testing.assert_allclose(getattr(told, name), row, rtol=1e-6)
    good = command()
    for bad in (b"", good[:-1], good[:50] + b"\1" + good[51:], bytes(812)):
        assert not drives.hear(bad, 0.0)
    assert not drives.hear(resigned(good, 6, 0x00), 0.0)  # not low level
    assert not drives.hear(resigned(good, 4, 0x00), 0.0)  # no head
    assert (drives.obeyed, drives.refused) == (1, 6)


def test_a_motor_in_a_wrong_mode_is_off_and_an_idle_command_asks_for_nothing():
    drives = Drives(BodyConfig())
    knee = h1.JOINT_NAMES.index("left_knee")
    at = int(layout.COMMAND_MODE_BYTES[h1.MOTOR_INDEX["left_knee"]])
    assert drives.hear(resigned(command(), at, 0), 0.0)
    told = drives.targets(0.0)
    assert told.stiffness[knee] == told.damping[knee] == 0.0
    assert np.count_nonzero(told.stiffness) == 18
    assert drives.hear(frames.CommandFrame().payload(), 0.0)
    told = drives.targets(0.0)
    for row in (told.position, told.velocity, told.torque, told.stiffness, told.damping):
        assert not row.any()


def test_a_hanging_double_holds_the_pose_it_is_told():
    body = Body(BodyConfig())
    wanted = HOME.copy()
    wanted.position = h1.DEFAULT_POSE + 0.1
    state = frames.robot_state(run(body, 1.0, command(wanted))[-1], 0.0)
    np.testing.assert_allclose(state.joint_position, wanted.position, atol=0.08)
    assert body.lowest == pytest.approx(0.98 + body.config.hang, abs=0.01)


@pytest.mark.parametrize(
    ("lost", "stiff", "damped"), [("keep", 300.0, 6.0), ("damp", 0.0, 6.0), ("limp", 0.0, 0.0)]
)
def test_what_the_drives_do_when_commands_stop(lost, stiff, damped):
    body = Body(BodyConfig(command_lost=lost, command_timeout=0.1))
    run(body, 0.1, command())
    assert body.drives.targets(0.15).stiffness.max() == 300.0
    told = body.drives.targets(0.3)
    assert (told.stiffness.max(), told.damping.max()) == (stiff, damped)


def test_latency_is_what_was_asked_for_and_keeps_the_order():
    body = Body(BodyConfig(state_latency=0.02, command_latency=0.01))
    sent = run(body, 0.1, command())
    ticks = [int.from_bytes(payload[1100:1104], "little") for payload in sent]
    assert ticks == [2 * (i + 1) for i in range(len(sent))]
    assert 50 - len(sent) == pytest.approx(0.02 / DT, abs=1)
    assert 50 - body.drives.obeyed == pytest.approx(0.01 / DT, abs=1)


def test_losses_and_spoiled_states_come_as_often_as_asked_for_and_a_crc_finds_them():
    body = Body(BodyConfig(state_loss=0.3, command_loss=0.5, spoiled=0.2, seed=4))
    sent = run(body, 2.0, command())
    assert len(sent) / 1000 == pytest.approx(0.7, abs=0.05)
    assert body.drives.obeyed / 1000 == pytest.approx(0.5, abs=0.06)
    broken = sum(not frames.is_whole(payload) for payload in sent)
    assert broken / len(sent) == pytest.approx(0.2, abs=0.05)


def test_noise_has_the_size_that_was_asked_for_and_the_same_seed_the_same_noise():
    quiet, noisy, again = (
        run(Body(BodyConfig(seed=1, **noise)), 0.4, command())
        for noise in ({}, {"position_noise": 0.01}, {"position_noise": 0.01})
    )
    assert noisy == again
    rows = [[frames.robot_state(p, 0.0).joint_position for p in side] for side in (quiet, noisy)]
    assert np.std(np.array(rows[1]) - np.array(rows[0])) == pytest.approx(0.01, rel=0.1)


def test_the_imu_tells_its_angles_beside_the_quaternion():
    """Each angle alone, of the torso: the waist, 0.3 rad to the left, is part of the yaw."""
    half = np.array([0.2, -0.3, 0.5]) / 2.0
    for axis, angle in enumerate(2.0 * half):
        quaternion = np.array([np.cos(half[axis]), 0.0, 0.0, 0.0])
        quaternion[1 + axis] = np.sin(half[axis])
        joints, frame = np.zeros(19), StateFrame()
        joints[h1.JOINT_NAMES.index("torso")] = 0.3 * (axis == 2)
        frame.fill(RobotState(0.0, quaternion, np.zeros(3), joints, np.zeros(19)), 1)
        expected = np.zeros(3)
        expected[axis] = angle + 0.3 * (axis == 2)
        np.testing.assert_allclose(frame.record["rpy"], expected, atol=1e-6)


def test_frozen_and_silent_states():
    body = Body(BodyConfig())
    body.frozen = True
    assert len({payload for payload in run(body, 0.02, command())}) == 1
    body.silent = True
    assert run(body, 0.02, command()) == []


def test_buttons_that_a_remote_does_not_have_are_refused():
    with pytest.raises(ValueError, match=r"'Z'.*there are"):
        Body(BodyConfig()).frame.press("Z")
    with pytest.raises(ValueError, match="keep"):
        BodyConfig(command_lost="explode")
