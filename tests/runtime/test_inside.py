"""The quick yes is never another answer than the monitors': at the limits, beyond, and for NaN."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import h1
from runtime.guard import Guard, GuardConfig
from runtime.inside import Inside
from runtime.state import JointTargets, RobotState

DT = h1.PHYSICS_DT
ROWS = ("position", "velocity", "torque", "stiffness", "damping")


class Never(Inside):
    """Leaves every look to the monitors."""

    def admits(self, *arguments) -> bool:
        return False

    def keeps(self, *arguments) -> bool:
        return False


def both(config: GuardConfig) -> tuple[Guard, Guard]:
    return Guard(config), Guard(config, _inside=Never())


def state(random: np.random.Generator, wild: float) -> RobotState:
    pose = h1.DEFAULT_POSE + wild * random.normal(size=19)
    return RobotState(
        0.0, np.array([1.0, 0, 0, 0]), np.zeros(3), pose, wild * random.normal(size=19)
    )


def some_targets(random: np.random.Generator, wild: float) -> JointTargets:
    return JointTargets(
        1,
        0.0,
        position=h1.DEFAULT_POSE + wild * random.normal(size=19),
        stiffness=h1.STIFFNESS * random.uniform(0.0, 1.0 + wild, 19),
        damping=h1.DAMPING * random.uniform(0.0, 1.0 + wild, 19),
        velocity=wild * random.normal(size=19),
        torque=wild * random.normal(size=19),
    )


WILD = st.sampled_from([0.0, 0.001, 0.01, 0.1, 1.0, 10.0])
SPECIAL = st.sampled_from([np.nan, np.inf, -np.inf, 1e200, -1e-300, -0.0, 1e160])


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), WILD, WILD, st.booleans(), st.data())
def test_what_is_admitted_kept_counted_and_written_is_the_same(seed, wild, moved, hardware, data):
    random = np.random.default_rng(seed)
    quick, slow = both(GuardConfig() if hardware else GuardConfig.simulated())
    for _ in range(3):
        now, wanted = state(random, moved), some_targets(random, wild)
        if data.draw(st.booleans()):
            row = data.draw(st.sampled_from(ROWS))
            getattr(wanted, row)[data.draw(st.integers(0, 18))] = data.draw(SPECIAL)
        with np.errstate(all="ignore"):
            admitted = slow.admit(copy.deepcopy(wanted))
            assert quick.admit(wanted) == admitted
            if admitted:
                mine, theirs = quick.apply(wanted, now, DT), slow.apply(wanted.copy(), now, DT)
                for row in ROWS:
                    np.testing.assert_array_equal(getattr(mine, row), getattr(theirs, row))
    assert quick.counts == slow.counts


@pytest.mark.parametrize("row", ["stiffness", "damping", "velocity", "torque"])
@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_at_each_limit_of_the_gains_both_say_the_same(row, side):
    usual = {"stiffness": h1.STIFFNESS, "damping": h1.DAMPING, "velocity": h1.VELOCITY_LIMIT}
    limit = usual[row] * 3.0 if row in usual else h1.TORQUE_LIMIT
    for factor in (1.0, np.nextafter(1.0, 2.0), np.nextafter(1.0, 0.0)):
        quick, slow = both(GuardConfig())
        wanted = some_targets(np.random.default_rng(0), 0.0)
        setattr(wanted, row, side * factor * limit)
        assert quick.admit(wanted) == slow.admit(wanted)


@pytest.mark.parametrize("value", [1e200, -1e308, np.inf, np.nan])
@pytest.mark.parametrize("row", ROWS)
def test_no_number_makes_it_warn(row, value):
    """A warning is written to a stream that may block, in the middle of a tick."""
    wanted = some_targets(np.random.default_rng(0), 0.0)
    getattr(wanted, row)[3] = value
    with np.errstate(all="raise"):
        assert not Guard(GuardConfig()).admit(wanted)


def test_a_row_that_would_be_stretched_to_fit_is_none():
    wanted = some_targets(np.random.default_rng(0), 0.0)
    assert Inside().admits(wanted, 3.0)
    for row in ROWS:
        short = dataclasses.replace(wanted, **{row: getattr(wanted, row)[:1]})
        assert not Inside().admits(short, 3.0)


def test_new_limits_count_from_the_next_look_on():
    guard, at = Guard(GuardConfig()), state(np.random.default_rng(0), 0.0)
    wanted = some_targets(np.random.default_rng(0), 0.0)
    wanted.position = h1.DEFAULT_POSE + 0.03
    wanted.stiffness = h1.STIFFNESS.copy()
    assert guard.apply(wanted, at, DT) is wanted
    assert guard.change(GuardConfig(torque_factor=0.001), configuring=False)[0]
    assert guard.apply(wanted, at, DT) is not wanted
    assert guard.counts["torque"] == 1
