"""The robot process's tick, in simulated time and without sockets: what it does to a robot."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import frames, h1
from runtime.frames import SERVER_STAGES, Kind, Verb
from runtime.guard import Action, GuardConfig
from runtime.modes import Mode
from runtime.monitors import MONITORS
from runtime.mujoco_robot import MujocoRobot
from runtime.robot_server import RobotServer
from runtime.server import base_config, damp
from runtime.server_link import Request
from runtime.spec import SPEC_VERSION
from runtime.state import JointTargets

DT = 0.002


class FakeLink:
    """Hands over what the test queued; everybody who sends holds the lease."""

    def __init__(self) -> None:
        self.inbox: list[JointTargets | Request] = []
        self.answers: list[tuple[bool, str]] = []
        self.frames: list[np.ndarray] = []
        self.refused = 0

    def receive(self, now: float) -> Iterator[JointTargets | Request]:
        inbox, self.inbox = self.inbox, []
        return iter(inbox)

    def lease(self, request: Request, now: float) -> tuple[bool, str]:
        return True, ""

    def holds(self, peer: bytes, now: float) -> bool:
        return peer == b"holder"

    def commander(self, now: float) -> str:
        return "holder"

    def drop(self) -> None:
        pass

    def reply(self, request: Request, granted: bool, reason: str) -> None:
        self.answers.append((granted, reason))

    def publish(self, frame: np.ndarray) -> None:
        self.frames.append(frames.decode(frame.tobytes(), Kind.STATE))


class Bench:
    """A server on a simulated robot, and time that only the test moves."""

    def __init__(self, **config: Any) -> None:
        self.link: Any = FakeLink()
        self.robot = MujocoRobot()
        self.server = RobotServer(
            self.robot, self.link, dataclasses.replace(base_config("mujoco"), **config)
        )
        self.server.verified = True
        self.now, self.sending, self.target = 0.0, True, h1.DEFAULT_POSE.copy()
        self.modes: list[Mode] = []
        self.written: list[JointTargets] = []
        write = self.robot.write
        self.robot.write = lambda targets, ticks=1: (  # type: ignore[method-assign]
            self.written.append(targets),
            write(targets, ticks),
        )[1]

    def ask(self, mode: int, verb: Verb = Verb.MODE, peer: bytes = b"holder") -> tuple[bool, str]:
        self.link.inbox.append(Request(peer, 1, verb, int(mode), "walk"))
        self.tick()
        return self.link.answers[-1]

    def tick(self) -> None:
        self.now += DT
        if self.sending and round(self.now / DT) % 10 == 0:
            self.link.inbox.append(JointTargets(1, 0.0, self.target, h1.STIFFNESS, h1.DAMPING))
        stamp = self.now
        read = type(self.robot).read
        self.robot.read = lambda: dataclasses.replace(read(self.robot), stamp=stamp)  # type: ignore
        self.server.tick(self.now)
        mode = self.server.machine.mode
        if not self.modes or self.modes[-1] is not mode:
            self.modes.append(mode)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / DT)):
            self.tick()

    def to_policy(self) -> None:
        self.ask(Mode.POLICY)
        while self.server.machine.mode is not Mode.POLICY:
            self.tick()
            assert self.now < 5.0


def test_on_its_own_it_does_nothing_and_the_support_keeps_the_robot_up():
    bench = Bench()
    bench.run(1.0)
    assert bench.modes == [Mode.ZERO_TORQUE]
    assert bench.robot.read().base_position[2] == pytest.approx(0.98)
    assert all((targets.stiffness == 0).all() for targets in bench.written)


def test_the_policy_takes_over_in_the_keyframe():
    bench = Bench()
    bench.ask(Mode.POLICY)
    while bench.server.machine.mode is not Mode.POLICY:
        bench.tick()
    state = bench.robot.read()  # one physics step after the release
    assert bench.modes[-4:] == [Mode.DAMPING, Mode.RAMP, Mode.HOLD, Mode.POLICY]
    np.testing.assert_allclose(state.joint_position, h1.DEFAULT_POSE, atol=2e-3)
    np.testing.assert_allclose(state.base_position, [0, 0, 0.98], atol=2e-3)


def test_old_targets_are_held_then_damped_in_time():
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
def test_nan_targets_are_like_none_and_never_reach_the_drives(bad):
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
def test_no_targets_whatever_their_numbers_ask_a_drive_for_too_much(q, dq, tau, kp, kd, sane):
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


def test_a_nan_state_is_an_emergency_stop_with_finite_damping():
    bench = Bench()
    bench.to_policy()
    bench.robot.data.qvel[8] = np.nan
    bench.tick()
    assert bench.server.machine.mode is Mode.ESTOP
    assert bench.written[-1].finite
    assert (bench.written[-1].stiffness == 0).all()


def test_a_fall_is_counted_once_and_the_robot_starts_again():
    bench = Bench()
    bench.to_policy()
    bench.run(4.0)  # the home pose falls after about 1.5 s
    assert bench.server.falls == 1 or bench.modes.count(Mode.POLICY) > 2
    assert bench.modes[-1] is Mode.POLICY
    assert bench.modes.count(Mode.RAMP) == bench.server.falls + 1


def test_without_auto_reset_a_fall_is_the_end():
    config = base_config("mujoco")
    modes = dataclasses.replace(config.modes, auto_reset=False)
    bench = Bench(modes=modes)
    bench.to_policy()
    bench.run(4.0)
    assert (bench.server.falls, bench.modes[-1]) == (1, Mode.DAMPING)


def test_hold_after_policy_catches_the_robot():
    bench = Bench()
    bench.to_policy()
    bench.run(0.2)
    assert bench.ask(Mode.HOLD)[0]
    height = bench.robot.read().base_position[2]
    bench.run(3.0)
    assert bench.robot.read().base_position[2] == height
    assert bench.server.falls == 0


def test_estop_is_anybody_s_and_everything_else_the_commander_s():
    bench = Bench()
    bench.to_policy()
    granted, reason = bench.ask(Mode.DAMPING, peer=b"stranger")
    assert not granted
    assert "'holder' commands this robot" in reason
    assert bench.ask(Mode.ESTOP, peer=b"stranger")[0]
    assert bench.server.machine.mode is Mode.ESTOP
    assert not bench.ask(Mode.POLICY)[0]
    assert bench.ask(Mode.DAMPING)[0]


def test_an_unknown_mode_is_refused_with_the_list():
    granted, reason = Bench().ask(99)
    assert not granted
    assert "ZERO_TORQUE" in reason


def test_releasing_the_lease_damps():
    bench = Bench()
    bench.to_policy()
    assert bench.ask(0, Verb.RELEASE)[0]
    assert bench.server.machine.mode is Mode.DAMPING


def test_a_process_that_is_ending_leaves_damping_for_nobody():
    bench = Bench()
    bench.to_policy()
    bench.server.machine.since = bench.now
    bench.server.stop("SIGTERM", bench.now)
    granted, reason = bench.ask(Mode.POLICY)
    assert not granted
    assert reason == "the robot process is ending: SIGTERM"
    bench.run(1.0)
    assert bench.server.machine.mode is Mode.DAMPING
    assert bench.ask(Mode.ESTOP)[0]


def test_policy_needs_a_commander_with_a_verified_policy_of_this_spec_version():
    bench = Bench()
    bench.server.verified = False
    granted, reason = bench.ask(Mode.POLICY)
    assert not granted
    assert "loaded and verified policy" in reason
    bench.ask(0, Verb.ACQUIRE)
    assert not bench.ask(Mode.POLICY)[0]
    granted, reason = bench.ask(SPEC_VERSION + 1, Verb.ACQUIRE)
    assert not granted
    assert f"PolicySpec version {SPEC_VERSION + 1}" in reason
    assert bench.ask(SPEC_VERSION, Verb.ACQUIRE)[0]
    assert bench.ask(Mode.POLICY)[0]


def limit(bench: Bench, text: str, peer: bytes = b"holder") -> tuple[bool, str]:
    bench.link.inbox.append(Request(peer, 1, Verb.LIMIT, 0, text))
    bench.tick()
    return bench.link.answers[-1]


def test_limits_are_tightened_over_the_wire_and_loosened_only_in_zero_torque():
    bench = Bench()
    assert limit(bench, "rate_limit=9000") == (True, "")
    bench.to_policy()
    assert limit(bench, "rate_limit=10 tilt=damp") == (True, "")
    assert bench.server.guard.config.rate_limit == 10.0
    granted, reason = limit(bench, "rate_limit=11")
    assert not granted
    assert "rate_limit: loosened only in ZERO_TORQUE" in reason
    assert not limit(bench, "rate_limti=1")[0]
    assert not limit(bench, "rate_limit=nan")[0]
    assert not limit(bench, "rate_limit=1", peer=b"stranger")[0]
    assert bench.server.guard.config.rate_limit == 10.0


def test_a_finding_that_holds_keeps_the_targets_that_were_good():
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


def test_after_a_stall_the_rate_limit_allows_no_jump():
    guard = dataclasses.replace(base_config("mujoco").guard, rate_limit=10.0, state_limit=9.0)
    bench = Bench(guard=guard)
    bench.to_policy()
    before = bench.written[-1].position.copy()
    bench.link.inbox.append(JointTargets(2, 0.0, before + 0.5, h1.STIFFNESS, h1.DAMPING))
    bench.server.tick(bench.now + 0.15, ticks=75)
    step = abs(bench.written[-1].position - before)
    assert step.max() <= 5 * DT * 10.0 + 1e-9


def test_what_fired_and_how_often_is_in_every_state_frame():
    bench = Bench()
    bench.to_policy()
    bench.target = h1.DEFAULT_POSE + 4.0
    bench.run(0.1)
    counts = dict(zip(MONITORS, bench.link.frames[-1]["monitors"][0], strict=True))
    assert counts == bench.server.guard.counts
    assert counts["position"] > 0
    assert bench.link.frames[-1]["fault"][0].decode() == str(bench.server.guard.last)[:64]


def test_the_stages_of_the_robot_process_are_in_its_state_frames():
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


def test_the_task_is_what_the_simulator_scores():
    bench = Bench()
    assert bench.ask(0, Verb.TASK)[0]
    assert bench.robot.task == "walk"
    assert bench.link.frames[-1]["task"][0] == b"walk"


def test_the_return_counts_policy_time_only():
    bench = Bench()
    bench.run(1.0)
    assert bench.link.frames[-1]["policy_ticks"][0] == 0
    bench.to_policy()
    bench.run(0.5)
    frame = bench.link.frames[-1]
    assert frame["policy_ticks"][0] == 25
    assert 20.0 < frame["reward_sum"][0] <= 25.0


def test_a_stalled_process_lets_simulated_time_slip_instead_of_bursting():
    robot = MujocoRobot()
    before = robot.data.time
    robot.write(JointTargets(1, 0.0, h1.DEFAULT_POSE, h1.STIFFNESS, h1.DAMPING), ticks=1000)
    assert robot.data.time - before == pytest.approx(10 * DT)
    assert robot.slipped == 990


def test_the_robot_honours_gains_velocity_and_feed_forward():
    robot = MujocoRobot()
    rng = np.random.default_rng(0)
    state = robot.read()
    kp, kd = rng.uniform(1, 50, 19), rng.uniform(0.1, 5, 19)
    position, velocity = state.joint_position + 0.05 * rng.normal(size=19), rng.normal(size=19)
    torque = rng.normal(size=19)
    wanted = JointTargets(1, 0.0, position, kp, kd, velocity, torque)
    clipped = np.clip(position, h1.JOINT_LOWER, h1.JOINT_UPPER)
    expected = kp * (clipped - state.joint_position) + kd * (velocity - state.joint_velocity)
    robot.write(wanted)
    np.testing.assert_allclose(robot.data.actuator_force, expected + torque, atol=1e-9)


def test_damping_after_an_exception_goes_on_for_a_while():
    robot = MujocoRobot()
    written: list[JointTargets] = []
    robot.write = lambda targets, ticks=1: written.append(targets)  # type: ignore
    damp(robot, 0.3)
    assert len(written) > 10
    assert all((targets.stiffness == 0).all() for targets in written)
