"""The halving schedule, drawn out row by row."""

import pytest

from training.mcts import Round, halving_rounds


def test_32_simulations_on_16_actions():
    assert halving_rounds(32, 16) == (
        Round(16, 16, True),  # sims 1-16: every action once; 16 -> 8
        Round(8, 8, True),  # sims 17-24: the better eight again; 8 -> 4
        Round(4, 4, False),  # sims 25-28
        Round(4, 4, True),  # sims 29-32: four actions a fourth time; 4 -> 2
    )


def test_16_simulations_on_8_actions():
    assert halving_rounds(16, 8) == (
        Round(8, 8, True),  # after sim 8: 8 -> 4
        Round(4, 4, True),  # after sim 12: 4 -> 2
        Round(2, 2, False),  # sims 13-14
        Round(2, 2, True),  # after sim 16: 2 -> 1
    )


def test_as_many_simulations_as_actions_is_one_round():
    assert halving_rounds(8, 8) == (Round(8, 8, True),)


def test_a_single_action_gets_everything_and_is_never_halved():
    assert halving_rounds(3, 1) == (Round(1, 1, False),) * 3


def test_a_count_that_is_no_power_of_two():
    # P = ceil(log2 6) = 3; phase 1: max(1, 12 // 18) * 6 = 6, then 3 survivors
    # phase 2: max(1, 12 // 9) * 3 = 3, then 1 survivor; phase 3 has the 3 that are left
    assert halving_rounds(12, 6) == (
        Round(6, 6, True),
        Round(3, 3, True),
        Round(1, 1, False),
        Round(1, 1, False),
        Round(1, 1, False),
    )


def test_a_budget_that_ends_in_the_middle_of_a_phase():
    # 20 sims on 16: after the first 16, only four of the eight survivors are seen again
    assert halving_rounds(20, 16) == (Round(16, 16, True), Round(8, 4, True))


@pytest.mark.parametrize("actions", range(1, 20))
@pytest.mark.parametrize("extra", [0, 1, 7, 30])
def test_every_schedule_spends_exactly_its_simulations(actions, extra):
    rounds = halving_rounds(actions + extra, actions)
    assert sum(round_.width for round_ in rounds) == actions + extra
    survivors = actions
    for round_ in rounds:
        assert round_.survivors == survivors
        assert 1 <= round_.width <= survivors
        survivors = survivors // 2 if round_.halve_after else survivors
    assert survivors >= 1


def test_fewer_simulations_than_actions_are_refused_with_both_numbers():
    with pytest.raises(ValueError, match="simulations=7, root_actions=8"):
        halving_rounds(7, 8)
