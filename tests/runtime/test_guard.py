"""The guard: every monitor's action, counter and memory, and how its limits may change."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import h1
from runtime.guard import MARGIN_MOST, Action, Guard, GuardConfig, loosened
from runtime.monitors import MONITORS
from runtime.robot import Health


def test_bad_targets_are_refused_and_counted_whatever_the_action(state_with, targets_with):
    guard = Guard(GuardConfig(finite=Action.OFF))
    assert not guard.admit(targets_with(np.full(19, np.nan)))
    assert guard.counts["finite"] == 1
    guard = Guard(GuardConfig(finite=Action.DAMP))
    assert not guard.admit(targets_with(np.full(19, np.nan)))
    assert guard.watch(state_with(), 0.0, 0.0) is Action.DAMP
    assert guard.watch(state_with(), 0.0, 0.0) is Action.OFF, "a verdict is given once"


def test_old_targets_are_held_then_damped(state_with):
    guard = Guard(GuardConfig())
    assert guard.watch(state_with(), 0.0, 0.06) is Action.OFF
    assert guard.watch(state_with(), 0.0, 0.07) is Action.HOLD
    assert guard.watch(state_with(), 0.0, 0.21) is Action.DAMP
    assert guard.watch(state_with(), 0.0, None) is Action.OFF, "no targets needed in this mode"
    assert (guard.counts["target_hold"], guard.counts["target_damp"]) == (2, 1)


def test_an_old_state_damps_and_a_broken_one_stops(state_with):
    guard = Guard(GuardConfig())
    assert guard.watch(state_with(), 0.11, None) is Action.DAMP
    broken = np.zeros(19)
    broken[3] = np.nan
    assert guard.watch(state_with(joint_velocity=broken), 0.0, None) is Action.ESTOP
    assert guard.counts["state_age"] == guard.counts["state_finite"] == 1


def test_the_guard_ramps_a_step_at_the_rate_over_ticks(state_with, targets_with):
    guard = Guard(GuardConfig(rate_limit=10.0))
    state, wanted = state_with(), targets_with(h1.DEFAULT_POSE + np.eye(19)[10] * 0.1)
    rows = [guard.apply(wanted, state, 0.002).position[10] for _ in range(7)]
    np.testing.assert_allclose(rows, [0.02, 0.04, 0.06, 0.08, 0.1, 0.1, 0.1], atol=1e-12)


def test_tilt_has_hysteresis(state_with, lean):
    guard = Guard(GuardConfig(tilt_limit=1.0, tilt_clear=0.8))
    verdicts = [
        guard.watch(state_with(orientation=lean(angle)), 0.0, None)
        for angle in (0.9, 1.1, 0.9, 0.7, 0.9)
    ]
    assert verdicts == [Action.OFF, Action.DAMP, Action.DAMP, Action.OFF, Action.OFF]


def healthy(**changes) -> Health:
    health = Health(np.full(19, 40.0), np.zeros(19, np.int64), 80.0, 0, 0)
    return dataclasses.replace(health, **changes)


def with_one(row: np.ndarray, place: int, value: float) -> np.ndarray:
    changed = row.copy()
    changed[place] = value
    return changed


SICK = {
    "temperature": healthy(temperature=with_one(np.full(19, 40.0), 3, 86.0)),
    "battery": healthy(battery=9.0),
    "state_crc": healthy(broken_run=6),
}


@pytest.mark.parametrize("monitor", list(SICK))
def test_sick_drives_batteries_and_wires_are_found_and_healthy_ones_are_not(state_with, monitor):
    guard = Guard(GuardConfig())
    assert guard.watch(state_with(), 0.0, None, healthy()) is Action.OFF
    assert guard.watch(state_with(), 0.0, None, SICK[monitor]) is getattr(guard.config, monitor)
    assert guard.counts[monitor] == 1
    assert sum(guard.counts.values()) == 1


def test_a_battery_of_unknown_charge_is_no_finding(state_with):
    guard = Guard(GuardConfig())
    assert guard.watch(state_with(), 0.0, None, healthy(battery=math.nan)) is Action.OFF


def test_a_hot_drive_is_named_and_must_cool_below_the_lower_limit(state_with):
    guard = Guard(GuardConfig(temperature_limit=85.0, temperature_clear=80.0))
    verdicts = []
    for heat in (84.0, 86.0, 82.0, 79.0, 84.0):
        hot = healthy(temperature=with_one(np.full(19, 40.0), 3, heat))
        verdicts.append(guard.watch(state_with(), 0.0, None, hot))
    assert verdicts == [Action.OFF, Action.DAMP, Action.DAMP, Action.OFF, Action.OFF]
    assert "left_knee" in str(guard.last)


def test_lost_frames_count_within_a_second_not_since_the_robot_was_switched_on(state_with):
    guard, lost = Guard(GuardConfig(lost_limit=20)), np.full(19, 10_000)
    for look in range(200):  # 50 looks are a second: 15 frames in each
        health = healthy(lost=with_one(lost, 5, 10_000 + 15 * (look // 50)))
        assert guard.watch(state_with(), 0.0, None, health) is Action.OFF
    sick = healthy(lost=with_one(lost, 5, 10_000 + 70))
    assert guard.watch(state_with(), 0.0, None, sick) is Action.DAMP
    assert "right_hip_yaw" in str(guard.last)


def test_late_ticks_in_a_row_have_a_limit(state_with):
    guard = Guard(GuardConfig(deadline_limit=25))
    assert guard.watch(state_with(), 0.0, None, None, 25) is Action.OFF
    assert guard.watch(state_with(), 0.0, None, None, 26) is Action.DAMP
    assert guard.counts["deadline"] == 1


def test_sensors_that_repeat_themselves_to_the_last_bit_are_found(state_with):
    guard = Guard(GuardConfig(frozen_limit=0.1))
    for stamp in np.arange(0.0, 0.1, 0.002):
        assert guard.watch(state_with(stamp=stamp), 0.0, None) is Action.OFF
    assert guard.watch(state_with(stamp=0.104), 0.0, None) is Action.DAMP
    moved = state_with(stamp=0.106, angular_velocity=np.full(3, 1e-9))
    assert guard.watch(moved, 0.0, None) is Action.OFF
    old = Guard(GuardConfig())
    for _ in range(200):  # the same state again and again is the age's business
        assert old.watch(state_with(stamp=1.0), 0.0, None) is Action.OFF


def test_limits_are_tightened_at_any_time_and_loosened_only_while_configuring():
    guard, base = Guard(GuardConfig()), GuardConfig()
    for tighter in (
        {"rate_limit": 5.0},
        {"position_margin": 0.1},
        {"battery_limit": 30.0},
        {"tilt": Action.ESTOP},
        {"target_damp": 0.1, "torque_factor": 0.5},
    ):
        config = dataclasses.replace(base, **tighter)
        assert guard.change(config, configuring=False) == (True, "")
        assert guard.config is config
        granted, reason = guard.change(base, configuring=False)
        assert not granted
        assert all(name in reason for name in tighter)
        assert guard.config is config
        assert guard.change(base, configuring=True)[0]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_change_that_loosens_anything_is_called_tighter(data):
    old, names = GuardConfig(), list(vars(GuardConfig()))
    name = data.draw(st.sampled_from(names))
    before = vars(old)[name]
    if isinstance(before, Action):
        after = data.draw(st.sampled_from(list(Action)))
        milder = after < before
    else:
        most = MARGIN_MOST if name == "position_margin" else 1e6
        after = data.draw(st.floats(0.0, most))
        milder = after < before if name in ("position_margin", "battery_limit") else after > before
    assert loosened(old, dataclasses.replace(old, **{name: after})) == ([name] if milder else [])


def test_a_margin_that_would_leave_the_range_at_its_other_end_is_refused():
    ends = h1.JOINT_LOWER + MARGIN_MOST, h1.JOINT_UPPER - MARGIN_MOST
    assert (ends[0] <= ends[1]).all()
    with pytest.raises(ValueError, match="position_margin must be at most"):
        GuardConfig(position_margin=MARGIN_MOST + 0.01)


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_a_limit_that_is_no_sensible_number_is_refused_with_its_name(value):
    with pytest.raises(ValueError, match="rate_limit must be a number of at least 0"):
        GuardConfig(rate_limit=value)


def test_a_burst_of_findings_is_recorded_once_with_time_action_and_finding(state_with):
    guard = Guard(GuardConfig())
    fast = state_with(joint_velocity=with_one(np.zeros(19), 4, 50.0))
    for tick in range(1000):
        guard.now = 7.0 + 0.002 * tick
        if not 200 <= tick < 700:
            guard.watch(fast, 0.0, None)
    assert [(when, action) for when, action, _ in guard.record] == [
        (7.0, Action.DAMP),
        (8.4, Action.DAMP),
    ]
    assert guard.record[0][2].joint == 4
    assert guard.counts["velocity"] == 500


def looks(guard, state_with, *shares: float) -> list[Action]:
    """Return the verdicts over states, 2 ms apart, in which the left knee has these speeds."""
    limit = h1.VELOCITY_LIMIT[3]
    rows = [with_one(np.zeros(19), 3, share * limit) for share in shares]
    return [guard.watch(state_with(joint_velocity=row), 0.0, None) for row in rows]


def test_a_joint_may_be_too_fast_while_a_foot_strikes_and_no_longer(state_with):
    """Run's ankles pass 1.2 of their limit for 2 to 6 ms at a strike: damping would be the fall."""
    off, damp = Action.OFF, Action.DAMP
    guard = Guard(GuardConfig())
    assert looks(guard, state_with, *[1.3] * 4, 1.1, *[1.3] * 4) == [off] * 9
    assert looks(guard, state_with, 1.3, 1.3) == [damp, damp]
    assert str(guard.last) == "velocity: left_knee 18.2 > 16.8"
    assert looks(guard, state_with, 1.1) == [off]


def test_a_joint_that_runs_away_is_too_fast_at_once(state_with):
    guard = Guard(GuardConfig())
    assert looks(guard, state_with, 0.0, 1.9, -2.1, 0.0) == [0, 0, Action.DAMP, 0]
    ankle, hip = h1.VELOCITY_LIMIT[4], h1.VELOCITY_LIMIT[2]
    both = with_one(with_one(np.zeros(19), 2, 1.8 * hip), 4, 2.1 * ankle)  # the hip exceeds by more
    assert guard.watch(state_with(joint_velocity=both), 0.0, None) is Action.DAMP
    assert guard.last.joint == 4
    strict = Guard(GuardConfig(velocity_ticks=1))
    assert looks(strict, state_with, 1.19, 1.21) == [0, Action.DAMP]


@pytest.mark.parametrize("monitor", ["velocity", "tilt", "state_age", "target_age", *SICK])
@pytest.mark.parametrize("action", list(Action))
def test_every_monitor_takes_every_action(state_with, lean, monitor, action):
    guard = Guard(dataclasses.replace(GuardConfig(), **{monitor: action}))
    state = state_with()
    facts = {"state_age": 0.0, "target_age": 0.0, "health": SICK.get(monitor)}
    if monitor in SICK:
        pass
    elif monitor == "velocity":
        state = state_with(joint_velocity=np.full(19, 50.0))
    elif monitor == "tilt":
        state = state_with(orientation=lean(2.0))
    else:
        facts[monitor] = 1.0
    floor = Action.HOLD if monitor == "target_age" and action is not Action.OFF else action
    assert guard.watch(state, **facts) is max(action, floor)


def test_the_caller_s_targets_are_not_changed(state_with, targets_with):
    wanted = targets_with(np.full(19, 9.0))
    Guard(GuardConfig()).apply(wanted, state_with(), 0.002)
    np.testing.assert_array_equal(wanted.position, np.full(19, 9.0))


def test_what_fired_last_is_recorded_with_joint_and_value(state_with, targets_with):
    guard = Guard(GuardConfig())
    guard.apply(targets_with(h1.DEFAULT_POSE + np.eye(19)[3] * 9.0), state_with(), 0.002)
    assert set(guard.counts) == set(MONITORS)
    assert guard.counts["position"] == guard.counts["rate"] == 1
    assert guard.last is not None
    assert "left_knee" in str(guard.last)
