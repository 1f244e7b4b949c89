"""Draws from sums of blocks are those of the plain way, which reads every priority each time."""

import numpy as np
import pytest

from training.config import ReplayConfig
from training.priorities import BLOCK, Priorities
from training.replay import TaskBuffer

SIZES = [(1, 1), (3, BLOCK - 1), (2, BLOCK), (3, 2 * BLOCK + 5)]


def dyadic(rng, shape):
    """Return priorities whose sums are exact in any order, a third of them 0."""
    return rng.integers(1, 1000, shape) / 64.0 * (rng.random(shape) < 0.67)


def plain_draw(values, shares):
    total = np.cumsum(values)
    return np.divmod(np.searchsorted(total, shares * total[-1], side="right"), values.shape[1])


@pytest.mark.parametrize(("rows", "columns"), SIZES)
def test_draws_and_counts_are_the_plain_ones_after_every_change(rows, columns):
    rng = np.random.default_rng(0)
    ours, plain = Priorities(rows, columns), np.zeros((rows, columns))
    for _ in range(50):
        row, column = rng.integers(rows, size=9), rng.integers(columns, size=9)
        value = dyadic(rng, 9)
        ours.set(row, column, value)
        plain[row, column] = value
        assert np.array_equal(ours.values, plain)
        assert ours.total() == plain.sum()
        assert ours.count() == np.count_nonzero(plain)
        end, span = rng.integers(columns, size=rows), int(rng.integers(1, columns + 9))
        around = (end[:, None] - 1 - np.arange(min(span, columns))) % columns
        expected = np.count_nonzero(np.take_along_axis(plain, around, axis=1))
        assert ours.count_before(end, span) == expected
        if plain.any():
            shares = np.sort(rng.random(20))
            assert np.array_equal(ours.draw(shares), plain_draw(plain, shares))


def test_nothing_without_a_priority_is_drawn_at_the_edges_of_the_sums():
    rng = np.random.default_rng(1)
    ours = Priorities(3, 3 * BLOCK)
    some = rng.permutation(9 * BLOCK)[:40]
    value = 10.0 ** rng.uniform(-12, 12, 40)
    ours.set(*np.divmod(some, 3 * BLOCK), value)
    running = np.cumsum(ours.values)
    edges = np.concatenate([running / running[-1], [0.0, 1.0]])
    near = [edges, np.nextafter(edges, 0.0), np.nextafter(edges, 1.0)]
    drawn = ours.values[ours.draw(np.concatenate(near))]
    assert (drawn > 0.0).all()


def test_sums_do_not_drift():
    rng = np.random.default_rng(2)
    ours = Priorities(1, BLOCK)
    for _ in range(200):
        ours.set(np.zeros(3, int), rng.integers(BLOCK, size=3), 10.0 ** rng.uniform(-9, 9, 3))
        ours.total()
    ours.set(np.zeros(BLOCK, int), np.arange(BLOCK), 0.0)
    assert (ours.total(), ours.count()) == (0.0, 0)


def test_loaded_priorities_draw_what_the_others_draw_to_the_last_bit():
    rng = np.random.default_rng(3)
    ours, loaded = Priorities(2, 3 * BLOCK), Priorities(2, 3 * BLOCK)
    for _ in range(100):
        row, column = rng.integers(2, size=5), rng.integers(2 * BLOCK, size=5)
        ours.set(row, column, rng.exponential(size=5))
        ours.total()
    loaded.load(ours.values[:, : 2 * BLOCK])
    assert loaded.total() == ours.total()
    shares = rng.random(500)
    assert np.array_equal(loaded.draw(shares), ours.draw(shares))


def test_priorities_cannot_be_written_past_their_sums():
    with pytest.raises(ValueError, match="read-only"):
        Priorities(1, 4).values[0, 0] = 1.0


def plain_sample(buffer, count, config, rng):
    """Draw as `TaskBuffer.sample` does, from all priorities: how it was done before."""
    flat = buffer.priority.ravel()
    ready, total = np.count_nonzero(flat), np.cumsum(flat)
    draws = (rng.random(count) + np.arange(count)) / count * total[-1]
    row, column = np.divmod(np.searchsorted(total, draws, side="right"), buffer.columns)
    span = max(1, config.recent // buffer.active) + buffer.window
    new_row, new_column = buffer._recent(round(config.recent_share * count), span, rng)
    some = rng.permutation(count)[: len(new_row)]
    row[some], column[some] = new_row, new_column
    share = len(some) / count
    chance = (1.0 - share) * buffer.priority[row, column] / total[-1]
    everywhere = np.indices(buffer.priority.shape)
    young = (buffer._age(*everywhere) < span) & (buffer.priority > 0.0)
    chance += share / young.sum() * young[row, column]
    weight = (ready * chance) ** -config.correction_exponent
    weight = np.clip(weight / weight.max(), config.weight_floor, 1.0)
    return row, column, weight.astype(np.float32)


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_a_buffer_samples_as_the_plain_way_while_it_fills_wraps_and_drops(share):
    config = ReplayConfig(recent_share=share, recent=300)
    rng = np.random.default_rng(4)
    buffer = TaskBuffer(rows=3, capacity=900, observation=1, action=1, window=4)
    length = np.zeros(3, int)
    for step in range(1500):
        frames = np.full((3, 1), step, np.float32)
        buffer.add(frames, frames, np.zeros(3))
        length += 1
        ended = np.flatnonzero(rng.random(3) < 0.05)
        buffer.finish(ended, frames[ended], rng.random(len(ended)) < 0.5)
        buffer.drop_tail(ended, length[ended], 10)
        length[ended] = 0
        if step < 20 or not buffer.priority.any():
            continue
        seed = int(rng.integers(2**31))
        ours = buffer.sample(32, config, np.random.default_rng(seed))
        plain = plain_sample(buffer, 32, config, np.random.default_rng(seed))
        for one, other in zip(ours, plain, strict=True):
            assert np.array_equal(one, other)
        assert not buffer.dropped[ours[0], ours[1]].any()
        value = rng.integers(1, 1000, 32) / 64.0
        buffer.priorities.set(*ours[:2], value)
        buffer.top = max(buffer.top, value.max())
