"""What a person wants: velocities die by themselves, headings are angles, nonsense stands still."""

from __future__ import annotations

import math

import pytest

from ezm_runtime.wishes import Wishes


def test_a_velocity_counts_for_half_a_second_and_then_is_zero():
    wishes = Wishes("walk", 0.0, 0.5)
    assert wishes.move((1.0, 0.2, 0.3), 10.0) == ""
    assert wishes.step(10.4, 0.02).velocity == (1.0, 0.2, 0.3)
    assert wishes.step(10.5, 0.02).velocity == (0.0, 0.0, 0.0)


def test_turning_moves_the_heading_by_its_time_and_only_while_it_is_wished():
    wishes = Wishes("walk", 1.0, 0.5)
    wishes.move((0.0, 0.0, 0.5), 0.0)
    for tick in range(100):
        command = wishes.step(0.02 * tick, 0.02)
    assert command.heading == pytest.approx(1.0 + 0.5 * 0.5, abs=0.02)


def test_headings_stay_within_half_a_turn_and_finite():
    wishes = Wishes("walk", 0.0, 0.5)
    assert wishes.face(3.0 * math.pi / 2.0) == ""
    assert wishes.heading == pytest.approx(-math.pi / 2.0)
    assert "finite" in wishes.face(math.nan)
    assert wishes.heading == pytest.approx(-math.pi / 2.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_velocity_that_is_no_number_stops_the_one_before(bad):
    wishes = Wishes("walk", 0.0, 0.5)
    wishes.move((1.0, 0.0, 0.0), 0.0)
    assert "finite" in wishes.move((bad, 0.0, 0.0), 0.1)
    assert wishes.step(0.2, 0.02).velocity == (0.0, 0.0, 0.0)
