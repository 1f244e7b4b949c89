"""Schedules over learner updates."""

import pytest

from training.schedules import due, learning_rate, linear


def test_linear_goes_from_start_to_end_and_stays_there():
    assert [linear(0.2, 0.1, p) for p in (-1.0, 0.0, 0.5, 1.0, 2.0)] == pytest.approx(
        [0.2, 0.2, 0.15, 0.1, 0.1]
    )


def test_the_learning_rate_drops_to_a_tenth_after_ninety_percent():
    assert learning_rate(1e-4, 0.9, 0.9) == 1e-4
    assert learning_rate(1e-4, 0.91, 0.9) == pytest.approx(1e-5)


def test_one_update_is_due_for_every_five_steps_at_a_ratio_of_a_fifth():
    updates = 0
    for steps in range(1, 1001):
        while due(updates, 0.2, steps):
            updates += 1
        assert updates == -(-steps // 5)  # the ceiling of steps / 5
