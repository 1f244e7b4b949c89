"""The robot process's tick, in simulated time and without sockets: what it does to a robot."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import h1
from runtime.frames import SERVER_STAGES
from runtime.guard import Action, GuardConfig
from runtime.modes import Mode
from runtime.monitors import MONITORS
from runtime.mujoco_robot import MujocoRobot
from runtime.server import base_config, damp
from runtime.state import JointTargets

DT = 0.002


def test_on_its_own_it_does_nothing_and_the_support_keeps_the_robot_up(Bench):
    bench = Bench()
    bench.run(1.0)
    assert bench.modes == [Mode.ZERO_TORQUE]
    assert bench.robot.read().base_position[2] == pytest.approx(0.98)
    assert all((targets.stiffness == 0).all() for targets in bench.written)


def test_the_policy_takes_over_in_the_keyframe(Bench):
    bench = Bench()
    bench.ask(Mode.POLICY)
    while bench.server.machine.mode is not Mode.POLICY:
        bench.tick()
    state = bench.robot.read()  # one physics step after the release
    assert bench.modes[-4:] == [Mode.DAMPING, Mode.RAMP, Mode.HOLD, Mode.POLICY]
    np.testing.assert_allclose(state.joint_position, h1.DEFAULT_POSE, atol=2e-3)
    np.testing.assert_allclose(state.base_position, [0, 0, 0.98], atol=2e-3)


def test_old_targets_are_held_then_damped_in_time(Bench):
    bench = Bench()
    bench.to_policy()
    bench.run(0.1)
    bench.sending, silent = False, bench.now
    while bench.server.machine.mode is Mode.POLICY:
        bench.tick()
        assert bench.now < silent + 1.0
    limit = GuardConfig().target_damp
    assert limit - 0.02 < bench.now - silent < limit + 0.01
    assert (bench.written[-1].stiffness == 0).all()
    bench.sending = True
    bench.run(1.0)
    assert bench.server.machine.mode is Mode.DAMPING, "left only when asked"
    bench.to_policy()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_targets_are_like_none_and_never_reach_the_drives(Bench, bad):
    bench = Bench()
    bench.to_policy()
    bench.target = np.full(19, bad)
    bench.run(0.3)
    assert bench.server.machine.mode is Mode.DAMPING
    assert bench.server.guard.counts["finite"] > 5
    assert all(np.isfinite(targets.position).all() for targets in bench.written)


ROW = st.lists(st.floats(width=64), min_size=19, max_size=19).map(np.array)


GAINS = st.lists(st.floats(-1.0, 5.0), min_size=19, max_size=19).map(np.array)


@settings(max_examples=40, deadline=None)
@given(ROW, ROW, ROW, GAINS, GAINS, st.booleans())
def test_no_targets_whatever_their_numbers_ask_a_drive_for_too_much(
    Bench, q, dq, tau, kp, kd, sane
):
    """Finite, within the drive's torque as the drive would compute it, whoever sent what."""
    bench = Bench()
    bench.to_policy()
    if sane:  # likelier to be admitted
        dq, tau = np.clip(np.nan_to_num(dq), -60, 60), np.clip(np.nan_to_num(tau), -18, 18)
        kp, kd = np.clip(kp, 0, 3), np.clip(kd, 0, 3)
    wild = JointTargets(9, 0.0, q, kp * h1.STIFFNESS, kd * h1.DAMPING, dq, tau)
    bench.sending = False
    for _ in range(3):
        bench.link.inbox.append(wild)
        state = bench.robot.read()
        bench.tick()
        given_to_drives = bench.written[-1]
        assert given_to_drives.finite
        stretch = given_to_drives.position - state.joint_position
        rate = given_to_drives.velocity - state.joint_velocity
        torque = given_to_drives.stiffness * stretch + given_to_drives.damping * rate
        over = abs(torque + given_to_drives.torque) - h1.TORQUE_LIMIT
        assert (over <= 1e-6).all()


def test_a_nan_state_is_an_emergency_stop_with_finite_damping(Bench):
    bench = Bench()
    bench.to_policy()
    bench.robot.data.qvel[8] = np.nan
    bench.tick()
    assert bench.server.machine.mode is Mode.ESTOP
    assert bench.written[-1].finite
    assert (bench.written[-1].stiffness == 0).all()


def test_a_fall_is_counted_once_and_the_robot_starts_again(Bench):
    bench = Bench()
    bench.to_policy()
    bench.run(4.0)  # the home pose falls after about 1.5 s
    assert bench.server.falls == 1 or bench.modes.count(Mode.POLICY) > 2
    assert bench.modes[-1] is Mode.POLICY
    assert bench.modes.count(Mode.RAMP) == bench.server.falls + 1


def test_without_auto_reset_a_fall_is_the_end(Bench):
    config = base_config("mujoco")
    modes = dataclasses.replace(config.modes, auto_reset=False)
    bench = Bench(modes=modes)
    bench.to_policy()
    bench.run(4.0)
    assert (bench.server.falls, bench.modes[-1]) == (1, Mode.DAMPING)


def test_hold_after_policy_catches_the_robot(Bench):
    bench = Bench()
    bench.to_policy()
    bench.run(0.2)
    assert bench.ask(Mode.HOLD)[0]
    height = bench.robot.read().base_position[2]
    bench.run(3.0)
    assert bench.robot.read().base_position[2] == height
    assert bench.server.falls == 0


def test_a_finding_that_holds_keeps_the_targets_that_were_good(Bench):
    guard = dataclasses.replace(base_config("mujoco").guard, velocity=Action.HOLD)
    bench = Bench(guard=guard)
    bench.to_policy()
    bench.run(0.1)
    good = bench.written[-1].position.copy()
    bench.robot.data.qvel[9] = 40.0
    bench.target = h1.DEFAULT_POSE + 0.1
    bench.sending = False
    bench.link.inbox.append(JointTargets(2, 0.0, bench.target, h1.STIFFNESS, h1.DAMPING))
    bench.tick()
    assert bench.server.guard.counts["velocity"] == 1
    np.testing.assert_allclose(np.delete(bench.written[-1].position, 3), np.delete(good, 3))
    bench.robot.data.qvel[6:] = 0.0
    bench.tick()
    np.testing.assert_allclose(bench.written[-1].position[10:], bench.target[10:])


def test_after_a_stall_the_rate_limit_allows_no_jump(Bench):
    guard = dataclasses.replace(base_config("mujoco").guard, rate_limit=10.0, state_limit=9.0)
    bench = Bench(guard=guard)
    bench.to_policy()
    before = bench.written[-1].position.copy()
    bench.link.inbox.append(JointTargets(2, 0.0, before + 0.5, h1.STIFFNESS, h1.DAMPING))
    bench.server.tick(bench.now + 0.15, ticks=75)
    step = abs(bench.written[-1].position - before)
    assert step.max() <= 5 * DT * 10.0 + 1e-9


def test_what_fired_and_how_often_is_in_every_state_frame(Bench):
    bench = Bench()
    bench.to_policy()
    bench.target = h1.DEFAULT_POSE + 4.0
    bench.run(0.1)
    counts = dict(zip(MONITORS, bench.link.frames[-1]["monitors"][0], strict=True))
    assert counts == bench.server.guard.counts
    assert counts["position"] > 0
    assert bench.link.frames[-1]["fault"][0].decode() == str(bench.server.guard.last)[:64]


def test_the_stages_of_the_robot_process_are_in_its_state_frames(Bench):
    bench = Bench()
    bench.run(1.2)  # each stage once in 256 ticks
    stages = bench.link.frames[-1]["stages"][0].reshape(len(SERVER_STAGES), 4)
    assert (stages[SERVER_STAGES.index("tick")] > 0.0).all()
    assert (np.diff(stages, axis=1) >= 0.0).all()


def test_damping_goes_on_although_some_writes_fail():
    robot, calls = MujocoRobot(), []

    def write(targets: JointTargets, ticks: int = 1) -> None:
        calls.append(targets)
        if len(calls) % 2:
            raise OSError("the cable")

    robot.write = write  # type: ignore[method-assign]
    damp(robot, 0.2)
    assert len(calls) > 5


def test_the_return_counts_policy_time_only(Bench):
    bench = Bench()
    bench.run(1.0)
    assert bench.link.frames[-1]["policy_ticks"][0] == 0
    bench.to_policy()
    bench.run(0.5)
    frame = bench.link.frames[-1]
    assert frame["policy_ticks"][0] == 25
    assert 20.0 < frame["reward_sum"][0] <= 25.0


def test_damping_after_an_exception_goes_on_for_a_while():
    robot = MujocoRobot()
    written: list[JointTargets] = []
    robot.write = lambda targets, ticks=1: written.append(targets)  # type: ignore
    damp(robot, 0.3)
    assert len(written) > 10
    assert all((targets.stiffness == 0).all() for targets in written)
