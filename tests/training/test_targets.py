"""Value targets against a naive loop over episodes."""

import numpy as np
import pytest
import torch

from training.targets import bootstrap_index, mixed_value, n_step_return


def naive(reward, value, final, terminal, position, steps, discount):
    """Return the n-step target of one position by walking forward frame by frame."""
    total, factor, frame = 0.0, 1.0, position
    for _ in range(steps):
        if frame == final:
            break
        total += factor * reward[frame]
        factor *= discount
        frame += 1
    if frame == final and terminal:
        return total
    return total + factor * value[frame]


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "truncated"])
@pytest.mark.parametrize("final", [1, 2, 3, 5, 6, 7, 9, 10])
def test_n_step_target_equals_the_naive_loop_wherever_the_episode_ends(final, terminal):
    generator = np.random.default_rng(final)
    positions, steps, window, discount = 6, 5, 10, 0.9
    ends = final < window or terminal  # final == window without an end: the episode goes on
    reward = generator.normal(size=window + 1)
    value = generator.normal(size=window + 1)
    index = bootstrap_index(torch.tensor([final]), positions, steps)
    boot = torch.tensor(value)[index]
    at_end = (index == final) & (terminal and ends)
    z = n_step_return(torch.tensor(reward)[None], index, torch.where(at_end, 0.0, boot), discount)
    for k in range(min(positions, final + 1)):
        expected = naive(reward, value, final, terminal and ends, k, steps, discount)
        assert float(z[0, k]) == pytest.approx(expected, abs=1e-5)


def test_a_hand_made_three_step_return():
    # rewards 1, 2, 4, discount 1/2, value of frame 3 is 8: 1 + 2/2 + 4/4 + 8/8 = 4
    reward = torch.tensor([[1.0, 2.0, 4.0, 100.0]])
    index = bootstrap_index(torch.tensor([3]), 1, 3)
    assert index.tolist() == [[3]]
    assert n_step_return(reward, index, torch.tensor([[8.0]]), 0.5).item() == 4.0


def test_rows_with_different_ends_do_not_leak_into_each_other():
    reward = torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    index = bootstrap_index(torch.tensor([1, 3]), 2, 2)
    assert index.tolist() == [[1, 1], [2, 3]]
    z = n_step_return(reward, index, torch.zeros(2, 2), 1.0)
    assert z.tolist() == [[1.0, 0.0], [2.0, 2.0]]


def test_a_position_past_the_end_points_at_itself_and_stays_in_the_window():
    index = bootstrap_index(torch.tensor([1]), 4, 3)
    assert index.tolist() == [[1, 1, 2, 3]]


def test_before_the_threshold_every_target_is_the_td_target():
    td, search = torch.zeros(2, 3), torch.ones(2, 3)
    newest = torch.tensor([False, True])
    assert torch.equal(mixed_value(td, search, 9, newest, search_after=10), td)


def test_after_the_threshold_only_the_newest_keep_the_td_target_at_all_positions():
    td, search = torch.zeros(2, 3), torch.ones(2, 3)
    mixed = mixed_value(td, search, 10, torch.tensor([False, True]), search_after=10)
    assert mixed.tolist() == [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]
