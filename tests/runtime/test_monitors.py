"""Each check and each clamp of the guard by itself: its limit from both sides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import h1
from runtime.monitors import (
    check_finite,
    check_gains,
    check_tilt,
    check_velocity,
    clamp_position,
    clamp_torque,
    limit_rate,
)


@pytest.mark.parametrize("field", ["position", "velocity", "torque", "stiffness", "damping"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_any_number_that_is_none_is_found(targets_with, field, bad):
    row = np.zeros(19)
    row[7] = bad
    assert check_finite(targets_with(**{field: row})) is not None
    assert check_finite(targets_with()) is None


def test_a_short_row_is_found(targets_with):
    assert check_finite(targets_with(np.zeros(18))) is not None


def test_gains_and_torques_have_limits(targets_with):
    assert check_gains(targets_with(), 3.0) is None
    for change in (
        {"stiffness": 3.1 * h1.STIFFNESS},
        {"stiffness": -h1.STIFFNESS},
        {"damping": 3.1 * h1.DAMPING},
        {"damping": -0.1 * h1.DAMPING},
        {"torque": 1.1 * h1.TORQUE_LIMIT},
        {"torque": -1.1 * h1.TORQUE_LIMIT},
        {"velocity": -3.1 * h1.VELOCITY_LIMIT},
    ):
        assert check_gains(targets_with(**change), 3.0) is not None


def test_positions_end_a_margin_before_the_range():
    wild = np.where(np.arange(19) % 2, 9.0, -9.0)
    clamped, found = clamp_position(wild, 0.02)
    assert found is not None
    expected = np.where(np.arange(19) % 2, h1.JOINT_UPPER - 0.02, h1.JOINT_LOWER + 0.02)
    np.testing.assert_array_equal(clamped, expected)
    assert clamp_position(h1.DEFAULT_POSE, 0.02) == (pytest.approx(h1.DEFAULT_POSE), None)


def test_targets_move_no_faster_than_the_rate():
    before = h1.DEFAULT_POSE
    limited, found = limit_rate(before + np.linspace(-1, 1, 19), before, 0.1)
    assert found is not None
    assert found.joint in (0, 18)
    assert abs(limited - before).max() == pytest.approx(0.1)
    near = before + 0.05
    np.testing.assert_array_equal(limit_rate(near, before, 0.1)[0], near)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.2, 1.0), st.booleans())
def test_the_drives_never_see_more_than_their_torque(
    state_with, targets_with, seed, factor, feed_forward
):
    rng = np.random.default_rng(seed)
    state = state_with(
        joint_position=rng.uniform(h1.JOINT_LOWER, h1.JOINT_UPPER),
        joint_velocity=rng.normal(size=19) * 10.0,
    )
    wanted = targets_with(rng.uniform(h1.JOINT_LOWER, h1.JOINT_UPPER))
    if feed_forward:
        wanted.torque, wanted.velocity = rng.normal(size=19) * 10.0, rng.normal(size=19) * 5.0
    position, feed, found = clamp_torque(wanted, state, factor)
    np.testing.assert_array_equal(feed, wanted.torque)

    def torque(at: np.ndarray) -> np.ndarray:
        spring = wanted.stiffness * (at - state.joint_position)
        return spring + wanted.damping * (wanted.velocity - state.joint_velocity) + wanted.torque

    limit = factor * h1.TORQUE_LIMIT
    assert (abs(torque(position)) <= limit * (1 + 1e-9)).all()
    clipped = np.clip(torque(wanted.position), -limit, limit)  # what the benchmark's actuator does
    np.testing.assert_allclose(torque(position), clipped, atol=1e-9)
    untouched = abs(torque(wanted.position)) <= limit
    np.testing.assert_array_equal(position[untouched], wanted.position[untouched])
    assert (found is None) == bool(untouched.all())


def test_without_stiffness_the_torque_clamp_moves_the_feed_forward(state_with, targets_with):
    soft = targets_with(stiffness=np.zeros(19), torque=np.full(19, 5.0))
    state = state_with(joint_velocity=np.full(19, 99.0))
    position, feed, found = clamp_torque(soft, state, 1.0)
    np.testing.assert_array_equal(position, soft.position)
    asked = soft.damping * -99.0 + 5.0
    clipped = np.clip(asked, -h1.TORQUE_LIMIT, h1.TORQUE_LIMIT)
    np.testing.assert_allclose(soft.damping * -99.0 + feed, clipped)
    assert found is not None


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_velocity_is_watched_in_both_directions(sign):
    velocity = np.zeros(19)
    velocity[4] = sign * 9.5
    found = check_velocity(velocity, 1.0)
    assert found is not None
    assert (found.joint, found.limit) == (4, 9.0)
    assert check_velocity(velocity, 1.1) is None


@pytest.mark.parametrize("axis", [0, 1])
def test_tilt_is_the_angle_from_the_vertical_and_yaw_is_none(lean, axis):
    assert check_tilt(lean(0.9, axis), 1.0) is None
    found = check_tilt(lean(-1.1, axis), 1.0)
    assert found is not None
    assert found.value == pytest.approx(1.1)
    assert check_tilt(lean(3.0, axis=2), 1.0) is None
    assert check_tilt(np.zeros(4), 1.0) is not None
