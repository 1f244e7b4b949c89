"""What may be asked of the robot process, by whom, and when."""

from __future__ import annotations

from typing import Any

from runtime.frames import Verb
from runtime.modes import Mode
from runtime.server_link import Request
from runtime.spec import SPEC_VERSION


def test_estop_is_anybody_s_and_everything_else_the_commander_s(Bench):
    bench = Bench()
    bench.to_policy()
    granted, reason = bench.ask(Mode.DAMPING, peer=b"stranger")
    assert not granted
    assert "'holder' commands this robot" in reason
    assert bench.ask(Mode.ESTOP, peer=b"stranger")[0]
    assert bench.server.machine.mode is Mode.ESTOP
    assert not bench.ask(Mode.POLICY)[0]
    assert bench.ask(Mode.DAMPING)[0]


def test_an_unknown_mode_is_refused_with_the_list(Bench):
    granted, reason = Bench().ask(99)
    assert not granted
    assert "ZERO_TORQUE" in reason


def test_releasing_the_lease_damps(Bench):
    bench = Bench()
    bench.to_policy()
    assert bench.ask(0, Verb.RELEASE)[0]
    assert bench.server.machine.mode is Mode.DAMPING


def test_a_process_that_is_ending_leaves_damping_for_nobody(Bench):
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


def test_policy_needs_a_commander_with_a_verified_policy_of_this_spec_version(Bench):
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


def limit(bench: Any, text: str, peer: bytes = b"holder") -> tuple[bool, str]:
    bench.link.inbox.append(Request(peer, 1, Verb.LIMIT, 0, text))
    bench.tick()
    return bench.link.answers[-1]


def test_limits_are_tightened_over_the_wire_and_loosened_only_in_zero_torque(Bench):
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


def test_the_task_is_what_the_simulator_scores(Bench):
    bench = Bench()
    assert bench.ask(0, Verb.TASK)[0]
    assert bench.robot.task == "walk"
    assert bench.link.frames[-1]["task"][0] == b"walk"
