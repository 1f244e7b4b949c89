"""What a sceptic asks of the robot process: in each mode, when something ends, breaks or lies.

Hardware limits on the simulated H1, in time that only the test moves; see `runtime.faults.rig`.
"""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import time

import numpy as np
import pytest

from runtime import answers, h1
from runtime.faults.rig import COMMANDER, STRANGER, Rig
from runtime.frames import Verb
from runtime.guard import Action, GuardConfig
from runtime.link import RobotClient
from runtime.modes import STIFF, Mode
from runtime.policy import load_policy
from runtime.processes import RobotProcess
from runtime.server import ServerConfig, operate
from runtime.server_link import LEASE
from runtime.spec import SPEC_VERSION
from runtime.state import JointTargets

WAY = (Mode.DAMPING, Mode.RAMP, Mode.HOLD, Mode.POLICY)


@pytest.fixture
def policy(make_policy):
    return load_policy(make_policy())


def rig_in(mode: Mode, policy, **limits) -> Rig:
    """Return a rig whose robot process is in `mode`, walked there as a person would."""
    rig = Rig(policy, 0, guard=GuardConfig(**limits))
    rig.ask(Verb.ACQUIRE, SPEC_VERSION, "policy")
    for step in WAY if mode in (*WAY, Mode.ESTOP) else ():
        if rig.mode is mode:
            break
        if step is Mode.HOLD:
            while rig.mode is not Mode.HOLD:
                rig.step()
        else:
            rig.ask(Verb.MODE, step)
    if mode is Mode.ESTOP:
        rig.ask(Verb.MODE, Mode.ESTOP)
    while mode is Mode.POLICY and rig.mode is not mode:
        rig.step()
    assert rig.mode is mode
    return rig


def watched(rig: Rig) -> list[JointTargets]:
    """Return a list that every later write goes into."""
    written: list[JointTargets] = []
    write = rig.robot.write

    def see(targets: JointTargets, ticks: int = 1) -> None:
        written.append(targets)
        write(targets, ticks)

    rig.robot.write = see  # type: ignore[method-assign]
    return written


@pytest.mark.parametrize("mode", list(Mode), ids=lambda mode: mode.name)
def test_an_end_in_any_mode_is_damping_for_good(policy, mode):
    rig = rig_in(mode, policy)
    rig.server.stop("SIGTERM", rig.now)
    written = watched(rig)
    for wish in Mode:
        rig.ask(Verb.MODE, wish, peer=STRANGER if wish is Mode.ESTOP else COMMANDER)
        assert rig.mode in (Mode.DAMPING, Mode.ESTOP)
    assert all((targets.stiffness == 0.0).all() for targets in written)
    assert all((targets.damping == h1.DAMPING).all() for targets in written)
    assert rig.check.exceeded == 0


@pytest.mark.parametrize("part", ["read", "write"])
@pytest.mark.parametrize("mode", list(Mode), ids=lambda mode: mode.name)
def test_an_exception_in_any_mode_damps_before_the_process_ends(policy, mode, part):
    rig = rig_in(mode, policy)
    written, whole = watched(rig), getattr(rig.robot, part)
    calls = []

    def broken(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            raise OSError("the cable")
        return whole(*arguments)

    setattr(rig.robot, part, broken)
    with pytest.raises(OSError, match="the cable"):
        operate(rig.server, ServerConfig(exit_damping=0.1), lambda: "")
    assert len(written) > 5
    assert all((targets.stiffness == 0.0).all() for targets in written)


@pytest.mark.parametrize("step", [math.nan, -3600.0, 3600.0], ids=["NaN", "back", "forth"])
@pytest.mark.parametrize("mode", sorted(STIFF), ids=lambda mode: mode.name)
def test_a_time_that_cannot_be_damps_in_the_same_tick(policy, mode, step):
    rig = rig_in(mode, policy)
    written = watched(rig)
    rig.server.tick(rig.now + step)
    assert rig.mode is Mode.DAMPING
    assert (written[-1].stiffness == 0.0).all()
    assert written[-1].finite


def test_one_long_stall_is_as_many_missed_deadlines_as_it_lasted(policy):
    """The newest targets may be fresh after it: that the drives were alone counts all the same."""
    rig = rig_in(Mode.POLICY, policy)
    limit = rig.server.guard.config.deadline_limit
    rig.knobs.late = limit + 1
    rig.step()
    assert rig.mode is Mode.POLICY
    rig.knobs.late = 1
    rig.run(0.1)
    rig.knobs.late = limit + 2
    rig.step()
    assert rig.mode is Mode.DAMPING
    assert rig.server.guard.last is not None
    assert rig.server.guard.last.monitor == "deadline"


def fall_silent(rig: Rig) -> None:
    """Let the commander's lease end."""
    rig.knobs.policy_every = 0
    rig.run(LEASE + 0.1)


def poses(rig: Rig) -> None:
    """Let a stranger send good targets near the pose in every tick."""
    near = JointTargets(1, 0.0, h1.DEFAULT_POSE, h1.STIFFNESS, h1.DAMPING)
    rig.knobs.extra = lambda: [[STRANGER, rig.encoded(near)]]


@pytest.mark.parametrize("version", [0, SPEC_VERSION])
def test_a_successor_does_not_inherit_what_the_last_commander_wished(policy, version):
    rig = rig_in(Mode.HOLD, policy)
    rig.server.machine.config = dataclasses.replace(
        rig.server.machine.config, entry_timeout=LEASE + 3.0
    )
    rig.knobs.policy_every = 0  # its targets never come
    rig.ask(Verb.MODE, Mode.POLICY)
    fall_silent(rig)
    assert rig.server.machine.goal is Mode.POLICY
    assert rig.ask(Verb.ACQUIRE, version, "successor", STRANGER) == (True, "")
    poses(rig)
    rig.run(0.5)
    assert rig.mode is Mode.HOLD
    granted, reason = rig.ask(Verb.MODE, Mode.POLICY, peer=STRANGER)
    rig.run(0.1)
    assert granted == (version == SPEC_VERSION), reason
    assert rig.mode is (Mode.POLICY if granted else Mode.HOLD)


def test_nobody_takes_over_in_the_middle_of_policy(policy):
    """Even where old targets only warn, another commander begins in DAMPING."""
    rig = rig_in(Mode.POLICY, policy, target_age=Action.WARN)
    fall_silent(rig)
    assert rig.mode is Mode.POLICY
    assert rig.ask(Verb.ACQUIRE, SPEC_VERSION, "successor", STRANGER)[0]
    assert rig.mode is Mode.DAMPING


def test_a_commander_that_takes_its_verified_policy_back_leaves_policy(policy):
    rig = rig_in(Mode.POLICY, policy)
    assert rig.ask(Verb.ACQUIRE, SPEC_VERSION, "policy")[0]
    assert rig.mode is Mode.POLICY
    assert rig.ask(Verb.ACQUIRE, 0, "policy")[0]
    assert rig.mode is Mode.DAMPING


def test_a_lease_that_ends_in_ramp_or_hold_leaves_the_robot_held_and_anybody_may_stop_it(policy):
    rig = rig_in(Mode.RAMP, policy)
    fall_silent(rig)
    assert rig.mode is Mode.HOLD
    assert rig.ask(Verb.MODE, Mode.DAMPING, peer=STRANGER)[0] is False
    assert rig.ask(Verb.ACQUIRE, 0, "somebody", STRANGER)[0]
    assert rig.mode is Mode.HOLD
    assert rig.ask(Verb.MODE, Mode.DAMPING, peer=STRANGER)[0]
    assert rig.mode is Mode.DAMPING


def test_no_number_that_is_none_reaches_a_drive_whatever_the_actions_are(policy):
    """A ramp begins where the joints are measured to be."""
    rig = rig_in(Mode.DAMPING, policy, state_finite=Action.OFF)
    written = watched(rig)
    rig.knobs.sense = lambda state: dataclasses.replace(state, joint_position=np.full(19, np.nan))
    rig.ask(Verb.MODE, Mode.RAMP)
    assert rig.mode is Mode.ESTOP
    assert "not finite" in rig.server.machine.reason
    assert all(targets.finite for targets in written)
    assert (written[-1].stiffness == 0.0).all()


def test_policy_does_not_begin_with_the_targets_of_an_earlier_time_in_it(policy):
    """A finding that holds keeps the last good targets of now, not those of yesterday."""
    rig = rig_in(Mode.POLICY, policy)
    old = rig.server._used
    rig.ask(Verb.MODE, Mode.HOLD)
    rig.server.guard.config = dataclasses.replace(rig.server.guard.config, battery=Action.HOLD)
    rig.knobs.battery = 3.0
    rig.run(0.3)
    rig.ask(Verb.MODE, Mode.POLICY)
    while rig.mode is not Mode.POLICY:
        rig.step()
    assert rig.server._used is rig.server._wanted
    assert rig.server._used is not old


def test_a_mistake_in_answering_a_request_is_a_refusal_and_the_writes_go_on(policy, monkeypatch):
    rig = rig_in(Mode.HOLD, policy)
    monkeypatch.setattr(answers, "_limit", lambda server, text: {}["rate_limit"])
    written = watched(rig)
    granted, reason = rig.ask(Verb.LIMIT, 0, "rate_limit=3")
    assert (granted, reason) == (False, "LIMIT: KeyError: 'rate_limit'")
    assert len(written) == 1


def test_a_margin_wider_than_a_joint_s_range_is_refused_over_the_wire(policy):
    """Clamping to it would ask for a place beyond the other end."""
    rig = rig_in(Mode.POLICY, policy)
    granted, reason = rig.ask(Verb.LIMIT, 0, "position_margin=5")
    assert not granted
    assert "at most 0.43 rad, half the narrowest range" in reason
    assert rig.ask(Verb.LIMIT, 0, "position_margin=0.4") == (True, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_during_a_ramp_damps_and_then_ends_the_process(number):
    """SIGHUP is what a terminal leaves behind when the network to it is cut."""
    words = ("modes.autostart=false", "modes.ramp_time=60", "exit_damping=0.5")
    with RobotProcess("mujoco", *words) as process:
        client = RobotClient(process.endpoint, "test")
        try:
            client.wait(30.0)
            assert client.acquire() == (True, "")
            assert client.request_mode(Mode.DAMPING)[0]
            assert client.request_mode(Mode.RAMP)[0]
            deadline = time.monotonic() + 10.0  # states from before the answer may still be queued
            while client.wait(5.0).mode is not Mode.RAMP:
                assert time.monotonic() < deadline
            os.kill(process.pid, number)
            deadline, seen = time.monotonic() + 30.0, set()
            while process.alive() and time.monotonic() < deadline:
                reading = client.reading()
                seen.add(reading.mode if reading else None)
                time.sleep(0.005)
            assert Mode.DAMPING in seen
            assert reading is not None
            assert (reading.mode, reading.reason) == (Mode.DAMPING, signal.Signals(number).name)
        finally:
            client.close()
        assert process.stop() == 0
