"""The control loop: what it feeds the policy, the pace it keeps, and when it keeps silent."""

from __future__ import annotations

import dataclasses
import gc
import time
from typing import Any

import numpy as np
import pytest

from runtime import h1
from runtime import loop as loop_module
from runtime.link import LinkError, Reading
from runtime.loop import LOOP_STAGES, ControlLoop
from runtime.modes import Mode
from runtime.policy import load_policy
from runtime.spec import SpecError, spec_for_h1
from runtime.state import Command, JointTargets, RobotState, state_from_generalized
from runtime.ticker import Ticker


class Echo:
    """A policy that keeps what it was shown and answers a constant."""

    def __init__(self, answer: float = 0.5, work: float = 0.0) -> None:
        self.spec = spec_for_h1("echo", ("stand", "walk"), "home", history=2)
        self.seen: list[np.ndarray] = []
        self.answer, self.work = answer, work

    def infer(self, observation: np.ndarray) -> np.ndarray:
        self.seen.append(observation.copy())
        time.sleep(self.work)
        return np.full(19, self.answer, np.float32)

    def block(self, name: str) -> slice:
        start = 0
        for item in self.spec.observation:
            end = start + item.size * item.history
            if item.name == name:
                return slice(start, end)
            start = end
        raise KeyError(name)


class FakeClient:
    """A robot process that always has a fresh state, until told otherwise."""

    def __init__(self, mode: Mode = Mode.POLICY) -> None:
        self.mode, self.age, self.seq, self.silent = mode, 0.0, 0, False
        self.sent: list[JointTargets] = []

    def reading(self) -> Reading | None:
        self.seq += 1
        return None if self.silent else reading(standing(), self.mode, self.seq, self.age)

    def wait(self, timeout: float) -> Reading:
        found = self.reading()
        if found is None:
            raise LinkError("silence")
        return found

    def send_targets(self, targets: JointTargets) -> None:
        self.sent.append(targets)


def standing(rate: float = 0.0) -> RobotState:
    qvel = np.zeros(25)
    qvel[3:6] = rate
    state = state_from_generalized(np.array([0, 0, 0.98, 1, 0, 0, 0, *h1.DEFAULT_POSE]), qvel)
    state.stamp = time.monotonic()
    return state


def reading(state: RobotState, mode: Mode, seq: int, age: float) -> Reading:
    rest: dict[str, Any] = dict.fromkeys(Reading.__dataclass_fields__, 0)
    return Reading(**(rest | {"state": state, "mode": mode, "seq": seq, "age": age}))


def test_targets_carry_the_spec_s_gains_and_the_mapped_action():
    policy = Echo(answer=0.5)
    targets = Ticker(policy, Command("stand")).tick(standing(), Mode.POLICY)
    assert targets is not None
    np.testing.assert_array_equal(targets.stiffness, h1.STIFFNESS)
    np.testing.assert_array_equal(targets.damping, h1.DAMPING)
    expected = h1.action_map("home").target(np.full(19, 0.5))
    np.testing.assert_allclose(targets.position, expected)


def test_outside_policy_every_tick_is_the_first_of_an_episode():
    policy = Echo()
    ticker, actions, rates = (
        Ticker(policy, Command("stand")),
        policy.block("previous_action"),
        policy.block("angular_velocity"),
    )
    for rate in (1.0, 2.0):
        ticker.tick(standing(rate), Mode.HOLD)
        assert (policy.seen[-1][actions] == 0.0).all()
        assert (policy.seen[-1][rates] == rate).all(), "the history starts anew"
    ticker.tick(standing(3.0), Mode.POLICY)
    np.testing.assert_array_equal(policy.seen[-1][rates], [2, 2, 2, 3, 3, 3])
    assert (policy.seen[-1][actions][19:] == 0.5).all(), "the action that was sent on entering"


def test_a_task_change_keeps_the_memory_and_shows_the_new_task():
    policy = Echo()
    ticker, rates = Ticker(policy, Command("stand")), policy.block("angular_velocity")
    ticker.tick(standing(1.0), Mode.POLICY)
    ticker.command = Command("walk")
    ticker.tick(standing(2.0), Mode.POLICY)
    np.testing.assert_array_equal(policy.seen[-1][rates], [1, 1, 1, 2, 2, 2])
    np.testing.assert_array_equal(policy.seen[-1][policy.block("task")], [0, 1])


def test_after_a_task_change_the_targets_go_on_from_where_they_were():
    policy = Echo(answer=0.5)
    ticker, space = Ticker(policy, Command("stand")), h1.action_map("home")
    for _ in range(3):
        before = ticker.tick(standing(), Mode.POLICY)
    ticker.command, policy.answer = Command("walk"), -0.5
    rows = [ticker.tick(standing(), Mode.POLICY) for _ in range(20)]
    path = np.array([row.position for row in rows if row is not None])
    assert before is not None
    goal = space.target(np.full(19, -0.5))
    steps = np.diff(np.vstack([before.position, path]), axis=0)
    whole = abs(goal - before.position)
    assert (abs(steps) <= 0.15 * whole + 1e-9).all(), "0.3 s of minimum jerk: no step is large"
    np.testing.assert_allclose(path[-1], goal)
    last_action = policy.seen[4][policy.block("previous_action")][-19:]
    np.testing.assert_allclose(space.target(last_action), path[0], atol=1e-6)


def test_each_task_is_answered_by_the_policy_that_knows_it_and_its_memory_is_its_own():
    stand, run = Echo(answer=0.1), Echo(answer=0.2)
    stand.spec = dataclasses.replace(stand.spec, name="one", tasks=("stand", "walk"))
    run.spec = spec_for_h1("two", ("run",), "home", history=3)
    ticker = Ticker([stand, run], Command("stand"))
    ticker.tick(standing(1.0), Mode.POLICY)
    ticker.command = Command("run")
    ticker.tick(standing(2.0), Mode.POLICY)
    assert (len(stand.seen), len(run.seen)) == (1, 1)
    rates = run.seen[0][run.block("angular_velocity")]
    assert (rates == 2.0).all(), "what another policy saw is not in its history"
    ticker.command = Command("fly")
    with pytest.raises(SpecError, match=r"'fly' is not one of the policies'.*'two': \['run'\]"):
        ticker.tick(standing(), Mode.POLICY)


def test_a_rehearsal_leaves_no_trace():
    told = []
    for rehearsals in (0, 3):
        policy = Echo()
        ticker, rows = Ticker(policy, Command("stand")), []
        for rate in (1.0, 2.0, 3.0):
            for _ in range(rehearsals):
                ticker.rehearse(standing(9.0), Mode.POLICY)
            targets = ticker.tick(standing(rate), Mode.POLICY)
            rows.append((policy.seen[-1].copy(), targets and targets.position))
        told.append(rows)
    for (seen, target), (other, same) in zip(*told, strict=True):
        np.testing.assert_array_equal(seen, other)
        np.testing.assert_array_equal(target, same)


class Clock:
    """A clock that moves when it is looked at, slept on, or told to."""

    def __init__(self) -> None:
        self.now = 100.0  # s

    def monotonic(self) -> float:
        self.now += 1e-5
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_rehearsals_fill_the_time_before_a_deadline_and_one_slow_one_does_not_end_them(monkeypatch):
    clock, policy = Clock(), Echo()
    monkeypatch.setattr(loop_module, "time", clock)
    infer = policy.infer

    def slow(observation: np.ndarray) -> np.ndarray:
        clock.sleep(work)
        return infer(observation)

    monkeypatch.setattr(policy, "infer", slow)
    loop, counts = ControlLoop(policy, FakeClient(), Command("stand")), []
    for work in (0.0001, 0.0001, 0.005, 0.0001, 0.0001, 0.0001):
        before, deadline = len(policy.seen), clock.now + 0.02
        loop._wait_until(deadline)
        counts.append(len(policy.seen) - before)
        assert deadline <= clock.now < deadline + max(work, 2e-5)
    first, second, held, after, *rest = counts
    assert min(first, second) >= 5, "a millisecond of rehearsals of a tenth each"
    assert (held, after) == (1, 0), "a slow one is believed at the next deadline"
    assert rest == [second] * 2


def test_every_stage_of_a_tick_is_in_the_histograms():
    client = FakeClient()
    loop = ControlLoop(Echo(work=0.005), client, Command("stand"))
    loop.start()
    time.sleep(0.5)
    loop.stop()
    stages = loop.quantiles()
    assert set(stages) == set(LOOP_STAGES)
    assert stages["infer"].p50 >= 5000.0
    for name, quantile in stages.items():
        assert 0.0 <= quantile.p50 <= quantile.p95 <= quantile.p99 <= quantile.max, name
    assert loop.stages.histograms["tick"].count == loop.stats().ticks


def test_the_garbage_collector_is_off_while_the_loop_runs_and_back_afterwards():
    loop = ControlLoop(Echo(), FakeClient(), Command("stand"))
    assert gc.isenabled()
    loop.start()
    time.sleep(0.2)
    assert not gc.isenabled()
    loop.stop()
    assert gc.isenabled()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_broken_state_is_never_shown_to_the_policy_and_forgotten(bad):
    policy = Echo()
    ticker = Ticker(policy, Command("stand"))
    assert ticker.tick(standing(bad), Mode.POLICY) is None
    assert (ticker.bad, policy.seen) == (1, [])
    assert ticker.tick(standing(1.0), Mode.POLICY) is not None
    assert np.isfinite(policy.seen[-1]).all(), "no broken frame is left in the history"


def test_an_action_that_is_no_number_is_not_sent():
    ticker = Ticker(Echo(answer=np.nan), Command("stand"))
    assert ticker.tick(standing(), Mode.POLICY) is None
    assert ticker.bad == 1


def test_the_rate_is_kept_or_what_is_missed_is_counted():
    client = FakeClient()
    loop = ControlLoop(Echo(), client, Command("stand"))
    loop.start()
    time.sleep(1.0)
    loop.stop()
    stats = loop.stats()
    assert stats.hz == pytest.approx(50.0, rel=0.05) or stats.deadline_misses
    assert len(client.sent) == stats.ticks
    assert [targets.seq for targets in client.sent] == list(range(1, len(client.sent) + 1))


def test_a_slow_policy_skips_ticks_instead_of_bursting():
    client = FakeClient()
    loop = ControlLoop(Echo(work=0.03), client, Command("stand"))
    loop.start()
    time.sleep(1.0)
    loop.stop()
    stats = loop.stats()
    assert stats.deadline_misses >= 10
    assert stats.hz < 35.0
    gaps = np.diff([targets.stamp for targets in client.sent])
    assert gaps.min() > 0.025


def test_no_targets_are_sent_on_an_old_state_or_none():
    client = FakeClient()
    loop = ControlLoop(Echo(), client, Command("stand"))
    loop.start()
    time.sleep(0.2)
    client.age = 0.2
    time.sleep(0.1)
    count = len(client.sent)
    time.sleep(0.2)
    assert len(client.sent) == count
    client.age = 0.0
    time.sleep(0.2)
    assert len(client.sent) > count
    loop.stop()
    assert loop.stats().stale_ticks > 5


def test_an_error_in_the_policy_ends_the_loop_and_is_kept():
    class Broken(Echo):
        def infer(self, observation: np.ndarray) -> np.ndarray:
            raise ValueError("broken")

    loop = ControlLoop(Broken(), FakeClient(), Command("stand"))
    loop.start()
    time.sleep(0.2)
    assert not loop.running
    assert loop.error == "ValueError: broken"


def test_an_unknown_task_ends_the_loop_with_the_list(make_policy):
    loop = ControlLoop(load_policy(make_policy()), FakeClient(), Command("fly"))
    loop.start()
    time.sleep(0.2)
    assert "'fly' is not one of policy" in loop.error
