"""The mode machine: every transition it makes, and the ones it must never make."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import h1
from runtime.guard import Action
from runtime.modes import STIFF, Mode, ModeConfig, ModeMachine, Setpoints, minimum_jerk
from runtime.state import JointTargets, RobotState

DT = 0.002


def step(machine: ModeMachine, now: float, seconds: float, **facts) -> float:
    """Advance the machine in ticks of 2 ms and return the new time."""
    facts = {"verdict": Action.OFF, "ready": True, "fallen": False} | facts
    for _ in range(round(seconds / DT)):
        now += DT
        machine.update(now, **facts)
    return now


def test_hardware_starts_nothing_by_itself():
    machine = ModeMachine(ModeConfig())
    now = step(machine, 0.0, 5.0)
    assert machine.mode is Mode.ZERO_TORQUE
    assert not machine.request(Mode.POLICY, now)[0]
    assert machine.request(Mode.DAMPING, now)[0]
    now = step(machine, now, 5.0)
    assert machine.mode is Mode.DAMPING
    granted, reason = machine.request(Mode.POLICY, now)
    assert not granted
    assert "POLICY cannot follow DAMPING" in reason
    assert machine.request(Mode.RAMP, now)[0]
    now = step(machine, now, 3.9)
    assert machine.mode is Mode.RAMP
    now = step(machine, now, 5.0)
    assert machine.mode is Mode.HOLD  # and stays: POLICY needs another request
    assert machine.request(Mode.POLICY, now)[0]
    step(machine, now, 0.1)
    assert machine.mode is Mode.POLICY


def test_policy_is_not_entered_without_fresh_targets_near_the_pose():
    machine = ModeMachine(ModeConfig())
    machine.mode = Mode.HOLD
    machine.request(Mode.POLICY, 0.0)
    now = step(machine, 0.0, 3.0, ready=False)
    assert machine.mode is Mode.HOLD
    assert machine.goal is Mode.HOLD
    step(machine, now, 1.0, ready=True)
    assert machine.mode is Mode.HOLD, "a request that timed out must not come true later"


def test_one_request_walks_to_policy_in_simulation():
    machine = ModeMachine(ModeConfig.simulated())
    seen = [machine.mode]
    machine.request(Mode.POLICY, 0.0)
    now = 0.0
    while machine.mode is not Mode.POLICY and now < 5.0:
        now = step(machine, now, DT)
        if machine.mode is not seen[-1]:
            seen.append(machine.mode)
    assert seen == [Mode.ZERO_TORQUE, Mode.DAMPING, Mode.RAMP, Mode.HOLD, Mode.POLICY]


@pytest.mark.parametrize(("auto_reset", "after"), [(True, Mode.POLICY), (False, Mode.DAMPING)])
def test_a_fall_damps_and_only_auto_reset_starts_again(auto_reset, after):
    base = ModeConfig.simulated()
    machine = ModeMachine(ModeConfig(**(vars(base) | {"auto_reset": auto_reset})))
    machine.request(Mode.POLICY, 0.0)
    now = step(machine, 0.0, 2.0)
    now = step(machine, now, DT, fallen=True)
    assert machine.mode is Mode.DAMPING
    step(machine, now, 3.0)
    assert machine.mode is after


def test_a_guard_damping_is_not_left_without_being_asked():
    machine = ModeMachine(ModeConfig.simulated())
    machine.request(Mode.POLICY, 0.0)
    now = step(machine, 0.0, 2.0)
    now = step(machine, now, DT, verdict=Action.DAMP)
    assert machine.mode is Mode.DAMPING
    now = step(machine, now, 5.0)
    assert machine.mode is Mode.DAMPING
    machine.request(Mode.POLICY, now)
    step(machine, now, 2.0)
    assert machine.mode is Mode.POLICY


@pytest.mark.parametrize("start", list(Mode))
def test_estop_is_latched_and_left_only_into_damping(start):
    machine = ModeMachine(ModeConfig.simulated())
    machine.mode = start
    assert machine.request(Mode.ESTOP, 0.0)[0]
    machine.stop(0.0, "shutdown")
    now = step(machine, 0.0, 3.0)
    assert machine.mode is Mode.ESTOP
    for mode in set(Mode) - {Mode.DAMPING, Mode.ESTOP}:
        assert not machine.request(mode, now)[0]
    assert machine.request(Mode.DAMPING, now)[0]
    assert machine.mode is Mode.DAMPING


@settings(max_examples=60, deadline=None)
@given(
    st.booleans(),
    st.lists(
        st.tuples(
            st.sampled_from([*Mode, None]),
            st.sampled_from(list(Action)),
            st.booleans(),
            st.booleans(),
            st.floats(0.001, 0.5),
        ),
        max_size=60,
    ),
)
def test_no_history_reaches_policy_except_from_hold(simulated, events):
    machine = ModeMachine(ModeConfig.simulated() if simulated else ModeConfig())
    now = 0.0
    for asked, verdict, ready, fallen, pause in events:
        now += pause
        before = machine.mode
        if asked is not None:
            machine.request(asked, now)
        between = machine.mode
        after = machine.update(now, verdict=verdict, ready=ready, fallen=fallen)
        for old, new in ((before, between), (between, after)):
            if new is Mode.POLICY:
                assert old in (Mode.HOLD, Mode.POLICY)
            if old is Mode.ESTOP:
                assert new in (Mode.ESTOP, Mode.DAMPING)
        if verdict >= Action.DAMP:
            assert after not in STIFF


def state_at(pose: np.ndarray) -> RobotState:
    return RobotState(0.0, np.array([1.0, 0, 0, 0]), np.zeros(3), pose, np.zeros(19))


def test_the_ramp_starts_at_the_latched_pose_and_ends_at_home_smoothly():
    config = ModeConfig()
    setpoints, start = Setpoints(config), h1.DEFAULT_POSE + 0.3
    times = np.linspace(0.0, config.ramp_time, 2001)
    rows = []
    for age in times:  # the measured pose sags meanwhile: the ramp must not follow it
        pose = start if age == 0.0 else start - 0.2
        rows.append(setpoints.targets(Mode.RAMP, age, state_at(pose), None).position)
    rows = np.array(rows)
    np.testing.assert_allclose(rows[0], start)
    np.testing.assert_allclose(rows[-1], h1.DEFAULT_POSE)
    speed = np.gradient(rows[:, 0], times)
    assert abs(speed[[0, -1]]).max() < 1e-3
    assert abs(speed).max() == pytest.approx(0.3 * 1.875 / config.ramp_time, rel=1e-3)


def test_minimum_jerk_has_no_velocity_and_no_acceleration_at_its_ends():
    step = 1e-4
    for end, inward in ((0.0, step), (1.0, -step)):
        first = minimum_jerk(end + inward) - minimum_jerk(end)
        second = minimum_jerk(end + 2 * inward) - minimum_jerk(end) - 2 * first
        assert abs(first / step) < 1e-6
        assert abs(second / step**2) < 1e-2
    assert minimum_jerk(0.5) == pytest.approx(0.5)
    assert (minimum_jerk(-1.0), minimum_jerk(2.0)) == (0.0, 1.0)


@pytest.mark.parametrize("mode", [Mode.DAMPING, Mode.ESTOP])
def test_damping_has_no_stiffness_even_for_a_broken_state(mode):
    broken = state_at(np.full(19, np.nan))
    targets = Setpoints(ModeConfig()).targets(mode, 0.0, broken, None)
    assert targets.finite
    assert (targets.stiffness == 0).all()
    np.testing.assert_array_equal(targets.damping, h1.DAMPING)


def test_policy_is_blended_in_from_the_held_pose():
    setpoints, state = Setpoints(ModeConfig()), state_at(h1.DEFAULT_POSE)
    wanted = JointTargets(1, 0.0, h1.DEFAULT_POSE + 0.2, h1.STIFFNESS, h1.DAMPING)
    setpoints.targets(Mode.HOLD, 0.0, state, None)
    first = setpoints.targets(Mode.POLICY, 0.0, state, wanted).position
    middle = setpoints.targets(Mode.POLICY, 0.2, state, wanted).position
    late = setpoints.targets(Mode.POLICY, 0.5, state, wanted).position
    np.testing.assert_allclose(first, h1.DEFAULT_POSE)
    np.testing.assert_allclose(middle, h1.DEFAULT_POSE + 0.1)
    np.testing.assert_allclose(late, wanted.position)


def test_stiffness_grows_over_the_ramp_and_starts_without_a_pull():
    config = ModeConfig()
    setpoints, pose = Setpoints(config), h1.DEFAULT_POSE + 0.3
    times = np.linspace(0.0, config.ramp_time, 101)
    rows = [setpoints.targets(Mode.RAMP, age, state_at(pose), None) for age in times]
    stiffness = np.array([row.stiffness for row in rows])
    np.testing.assert_allclose(stiffness[0], 0.2 * h1.STIFFNESS)
    np.testing.assert_allclose(stiffness[-1], h1.STIFFNESS)
    assert (np.diff(stiffness, axis=0) >= 0.0).all()
    np.testing.assert_allclose(rows[0].stiffness * (rows[0].position - pose), 0.0, atol=1e-12)


def test_gains_speed_and_torque_are_blended_in_too():
    setpoints, state = Setpoints(ModeConfig()), state_at(h1.DEFAULT_POSE)
    wanted = JointTargets(
        1,
        0.0,
        h1.DEFAULT_POSE,
        2.0 * h1.STIFFNESS,
        0.5 * h1.DAMPING,
        np.full(19, 2.0),
        np.full(19, 4.0),
    )
    setpoints.targets(Mode.HOLD, 0.0, state, None)
    first = setpoints.targets(Mode.POLICY, 0.0, state, wanted)
    middle = setpoints.targets(Mode.POLICY, 0.2, state, wanted)
    np.testing.assert_allclose(first.stiffness, h1.STIFFNESS)
    assert (first.torque == 0.0).all()
    np.testing.assert_allclose(middle.stiffness, 1.5 * h1.STIFFNESS)
    np.testing.assert_allclose(middle.damping, 0.75 * h1.DAMPING)
    np.testing.assert_allclose((middle.velocity[0], middle.torque[0]), (1.0, 2.0))


def test_hold_after_policy_keeps_the_last_targets():
    setpoints, state = Setpoints(ModeConfig.simulated()), state_at(h1.DEFAULT_POSE)
    wanted = JointTargets(1, 0.0, h1.DEFAULT_POSE + 0.1, h1.STIFFNESS, h1.DAMPING)
    setpoints.targets(Mode.POLICY, 0.0, state, wanted)
    held = setpoints.targets(Mode.HOLD, 0.0, state, wanted)
    np.testing.assert_allclose(held.position, wanted.position)


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
@pytest.mark.parametrize("name", ["ramp_time", "entry_distance", "blend_time"])
def test_a_time_or_distance_that_is_none_is_refused_with_its_name(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a number"):
        ModeConfig(**{name: value})
