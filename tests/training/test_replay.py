"""Replay with identifiable data: every number says which frame it belongs to."""

import dataclasses

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from training.config import ReplayConfig
from training.replay import Replay, TaskBuffer

WINDOW = 4
UNIFORM = ReplayConfig(capacity=160, priority_exponent=1.0)


class Writer:
    """Plays episodes of numbered frames into a Replay and remembers what it wrote.

    Frame `i` of row `r` of task `t` has identity 1e6 t + 1e4 r + i; its observation, action and
    reward are that number, its quarter and its double (final frames: no action, reward 0).
    """

    def __init__(self, replay, rows, seed=0, end=0.12):
        self.replay, self.rows, self.end = replay, rows, end
        self.rng = np.random.default_rng(seed)
        self.count = np.zeros((len(replay.buffers), rows), int)
        self.episode = {}  # identity -> (episode number, final, terminal)
        self.number = np.zeros((len(replay.buffers), rows), int)

    def identity(self, task, rows):
        return 1e6 * task + 1e4 * rows + self.count[task, rows]

    def step(self):
        rows = np.arange(self.rows)
        for task, buffer in enumerate(self.replay.buffers):
            me = self.identity(task, rows)
            buffer.add(_obs(me), _action(me), 2.0 * me)
            self._note(task, rows, me, False, False)
            ended = np.flatnonzero(self.rng.random(self.rows) < self.end)
            self.finish(task, ended, self.rng.random(len(ended)) < 0.5)

    def finish(self, task, rows, terminal):
        me = self.identity(task, rows)
        self.replay.buffers[task].finish(rows, _obs(me), terminal)
        self._note(task, rows, me, True, terminal)
        self.number[task, rows] += 1

    def _note(self, task, rows, me, final, terminal):
        terminal = np.broadcast_to(terminal, me.shape)
        for row, name, end in zip(rows, me, terminal, strict=True):
            self.episode[int(name)] = (self.number[task, row], final, bool(end))
        self.count[task, rows] += 1


def _obs(me):
    return np.stack([me, -me], -1)


def _action(me):
    return (0.25 * me)[:, None]


def written(steps=60, rows=3, tasks=2, config=UNIFORM, **options):
    replay = Replay(tasks, rows, observation=2, action=1, window=WINDOW, config=config)
    writer = Writer(replay, rows, **options)
    for _ in range(steps):
        writer.step()
    return replay, writer


@pytest.mark.parametrize("steps", [20, 60, 400], ids=["young", "full", "wrapped"])
def test_all_fields_of_a_window_belong_to_the_same_transitions_of_one_episode(steps):
    replay, writer = written(steps)
    rng = np.random.default_rng(1)
    for _ in range(20):
        batch = replay.sample(64, rng)
        for b in range(64):
            root = int(batch.observation[b, 0, 0])
            task, row = divmod(root, 10**6)[0], divmod(root % 10**6, 10**4)[0]
            assert (task, row) == (batch.place[0][b], batch.place[1][b])
            episode = writer.episode[root][0]
            assert batch.alive[b, 0]
            for k in range(WINDOW + 1):
                number, final, terminal = writer.episode.get(root + k, (None, False, False))
                assert batch.alive[b, k] == (number == episode)
                if not batch.alive[b, k]:
                    continue
                assert batch.observation[b, k].tolist() == [root + k, -(root + k)]
                if final:
                    assert (batch.action[b, k], batch.reward[b, k]) == (0.0, 0.0)
                    assert batch.final[b] == k
                    assert batch.terminal[b] == terminal
                else:
                    assert batch.action[b, k] == 0.25 * (root + k)
                    assert batch.reward[b, k] == 2.0 * (root + k)
            if batch.alive[b].all() and not writer.episode[root + WINDOW][1]:
                assert batch.final[b] == WINDOW
                assert not batch.terminal[b]


@pytest.mark.parametrize("steps", [3, 5, 30, 300])
def test_a_frame_can_be_sampled_exactly_when_its_window_is_complete(steps):
    replay, writer = written(steps)
    for task, buffer in enumerate(replay.buffers):
        expected = set()
        for row in range(buffer.rows):
            last = int(writer.count[task, row]) - 1
            oldest = max(0, last + 1 - buffer.columns)
            for i in range(oldest, last + 1):
                me = int(1e6 * task + 1e4 * row + i)
                number, final, _ = writer.episode[me]
                follow = [writer.episode.get(me + k) for k in range(1, WINDOW + 1)]
                ends = any(f is not None and f[1] and f[0] == number for f in follow)
                if not final and (ends or i + WINDOW <= last):
                    expected.add(me)
        ready = buffer.observation[..., 0][buffer.priority > 0.0]
        assert {int(x) for x in ready} == expected


def test_no_window_crosses_the_write_pointer_after_the_ring_has_wrapped():
    replay, writer = written(500, end=0.0)  # one endless episode per row
    buffer = replay.buffers[0]
    assert int(writer.count[0, 0]) > 2 * buffer.columns
    batch = replay.sample(512, np.random.default_rng(0))
    steps = np.diff(batch.observation[..., 0], axis=1)
    assert np.all(steps == 1.0)


def test_an_empty_buffer_says_so():
    replay = Replay(1, 2, 2, 1, WINDOW, UNIFORM)
    with pytest.raises(ValueError, match="no complete window"):
        replay.sample(4, np.random.default_rng(0))


def test_every_batch_holds_equally_many_roots_of_every_task():
    replay, _ = written(60, tasks=3)
    for batch_size in (9, 30, 32):
        batch = replay.sample(batch_size, np.random.default_rng(0))
        assert np.bincount(batch.task).tolist() == [batch_size // 3] * 3


def test_task_shares_divide_the_batch():
    replay, _ = written(60, tasks=2, config=dataclasses.replace(UNIFORM, task_share=(1.0, 3.0)))
    batch = replay.sample(32, np.random.default_rng(0))
    assert np.bincount(batch.task).tolist() == [8, 24]


def test_new_frames_get_the_largest_priority_seen_and_one_in_an_empty_buffer():
    replay, writer = written(30)
    assert set(np.unique(replay.buffers[0].priority)) == {0.0, 1.0}
    batch = replay.sample(2, np.random.default_rng(0))
    replay.update_priorities(batch, np.full(2, 7.0))
    for _ in range(WINDOW + 2):
        writer.step()
    assert replay.buffers[0].priority.max() == pytest.approx(7.0, abs=1e-5)
    assert np.count_nonzero(replay.buffers[0].priority > 6.9) > 1


def test_update_priorities_writes_the_errors_of_the_roots_to_the_exponent():
    replay, _ = written(60, config=ReplayConfig(capacity=160, priority_exponent=0.5))
    batch = replay.sample(16, np.random.default_rng(0))
    error = batch.observation[:, 0, 0]  # the same for the same root
    replay.update_priorities(batch, error)
    for b in range(16):
        task, row, column = (part[b] for part in batch.place)
        expected = (float(error[b]) + 1e-6) ** 0.5
        assert replay.buffers[task].priority[row, column] == pytest.approx(expected)


def test_roots_are_drawn_in_proportion_to_their_priority():
    buffer = TaskBuffer(2, 160, 2, 1, WINDOW)
    for i in range(30):
        me = 1e4 * np.arange(2) + i
        buffer.add(_obs(me), _action(me), me)
    ready = np.argwhere(buffer.priority > 0.0)
    rng = np.random.default_rng(0)
    wanted = rng.exponential(size=len(ready))
    buffer.priorities.set(*ready.T, wanted)
    row, column, weight = buffer.sample(200_000, UNIFORM, rng)
    seen = np.array([np.count_nonzero((row == r) & (column == c)) for r, c in ready])
    assert np.allclose(seen / seen.sum(), wanted / wanted.sum(), atol=2e-4)
    # w = (n p)^-1, divided by its maximum, not below 0.1
    by_root = {(r, c): w for r, c, w in zip(row, column, weight, strict=True)}
    for (r, c), priority in zip(ready, wanted, strict=True):
        expected = max(wanted.min() / priority, 0.1)
        assert by_root[r, c] == pytest.approx(expected, rel=1e-5)


def test_equal_priorities_have_weight_one():
    replay, _ = written(60)
    assert np.all(replay.sample(32, np.random.default_rng(0)).weight == 1.0)


@pytest.mark.parametrize("steps", [60, 3000], ids=["few", "wrapped"])
def test_importance_weights_undo_the_preference_for_recent_frames(steps):
    """E[w f] over draws, normalised, is the plain mean of f over all eligible roots."""
    config = ReplayConfig(
        capacity=4000, priority_exponent=1.0, weight_floor=0.0, recent_share=0.5, recent=100
    )
    replay, _ = written(steps, rows=2, tasks=1, config=config)
    buffer = replay.buffers[0]
    rng = np.random.default_rng(2)
    ready = np.argwhere(buffer.priority > 0.0)
    buffer.priorities.set(*ready.T, rng.uniform(0.5, 2.0, len(ready)))
    age = buffer._age(ready[:, 0], ready[:, 1])
    total, mass = np.zeros(2), np.zeros(2)
    for _ in range(300):
        row, column, weight = buffer.sample(2000, config, rng)
        young = (buffer._age(row, column) < 40).astype(int)
        scale = weight / weight.sum()
        total += np.bincount(young, weights=scale, minlength=2)
        mass += np.bincount(young, minlength=2) / len(row)
    share = np.mean(age < 40)
    assert total[1] / total.sum() == pytest.approx(share, rel=0.03)
    if steps > 1000:
        assert mass[1] / mass.sum() > 3 * share  # they are in fact preferred


def test_recent_draws_are_among_the_newest_complete_windows():
    config = ReplayConfig(capacity=4000, recent_share=1.0, recent=60)
    replay, _ = written(1000, rows=3, tasks=1, config=config, end=0.0)
    batch = replay.sample(500, np.random.default_rng(0))
    back = 999 - batch.observation[:, 0, 0] % 1e4  # frames written since, per row
    assert back.min() == WINDOW
    assert back.max() == WINDOW + 60 // 3 - 1
    assert len(np.unique(batch.place[1])) == 3


def test_newest_counts_the_transitions_written_since_over_all_rows():
    replay, _ = written(400, rows=3, tasks=1, end=0.0)
    batch = replay.sample(64, np.random.default_rng(0))
    since = 399 - batch.observation[:, 0, 0] % 1e4
    assert batch.newest.tolist() == (3 * since).tolist()


def test_search_results_come_back_with_the_frame_they_were_made_for():
    replay, writer = written(60)
    rng = np.random.default_rng(0)
    batch = replay.sample(32, rng)
    rows = np.arange(0, 32, 2)
    made = 3.0 * batch.observation[rows, :2, :1]  # three times the identity of the frame
    replay.store_search(batch, rows, made, 5.0 * made[..., 0], update=17)
    assert writer.episode  # the data is identifiable
    seen = 0
    for _ in range(20):
        again = replay.sample(64, rng)
        has = (again.stored_at == 17) & again.alive
        seen += int(has.sum())
        assert np.all(again.stored_action[has] == 3.0 * again.observation[has][:, :1])
        assert np.all(again.stored_value[has] == 15.0 * again.observation[has][:, 0])
        assert np.array_equal(again.valued_at, again.stored_at)
    assert seen > 50


def test_an_overwritten_frame_forgets_its_search_result():
    replay, writer = written(60, end=0.0)
    batch = replay.sample(32, np.random.default_rng(0))
    replay.store_search(batch, np.arange(32), batch.action[:, :1], batch.reward[:, :1], update=3)
    for _ in range(replay.buffers[0].columns):
        writer.step()
    assert all((buffer.stored_at == -1).all() for buffer in replay.buffers)
    assert all((buffer.valued_at == -1).all() for buffer in replay.buffers)


@pytest.mark.parametrize("steps", [20, 300], ids=["young", "wrapped"])
def test_a_loaded_replay_continues_as_the_saved_one(tmp_path, steps):
    replay, writer = written(steps)
    batch = replay.sample(16, np.random.default_rng(0))
    replay.update_priorities(batch, np.linspace(0.1, 9.0, 16))
    replay.store_search(batch, np.arange(16), batch.action[:, :1], batch.reward[:, :1], update=5)
    replay.save(tmp_path / "replay.safetensors")
    other = Replay(2, 3, 2, 1, WINDOW, UNIFORM)
    other.load(tmp_path / "replay.safetensors")
    twin = Writer(other, 3)
    twin.count, twin.number, twin.rng = writer.count.copy(), writer.number.copy(), None
    for source in (replay, other):
        for task, buffer in enumerate(source.buffers):
            me = writer.identity(task, np.arange(3))
            buffer.add(_obs(me), _action(me), me)
            buffer.finish(np.array([1]), _obs(me[1:2]), np.array([True]))
    one = replay.sample(64, np.random.default_rng(3))
    two = other.sample(64, np.random.default_rng(3))
    for name in ("observation", "action", "reward", "alive", "final", "terminal", "weight",
                 "stored_action", "stored_at", "stored_value", "valued_at", "newest"):  # fmt: skip
        assert np.array_equal(getattr(one, name), getattr(two, name)), name
    assert (two.valued_at >= 0).any()


def test_a_replay_saved_before_there_were_stored_values_and_drops_has_none(tmp_path):
    replay, _ = written(60)
    batch = replay.sample(16, np.random.default_rng(0))
    replay.store_search(batch, np.arange(16), batch.action[:, :1], batch.reward[:, :1], update=5)
    replay.save(tmp_path / "replay.safetensors")
    arrays = load_file(tmp_path / "replay.safetensors")
    new = ("/stored_value", "/valued_at", "/dropped")
    older = {k: v for k, v in arrays.items() if not k.endswith(new)}
    assert len(older) == len(arrays) - 6
    save_file(older, tmp_path / "older.safetensors")
    other = Replay(2, 3, 2, 1, WINDOW, UNIFORM)
    other.load(tmp_path / "older.safetensors")
    for buffer, source in zip(other.buffers, replay.buffers, strict=True):
        assert np.array_equal(buffer.stored_at, source.stored_at)
        assert (buffer.valued_at == -1).all() and not buffer.dropped.any()


def test_a_saved_replay_that_lacks_anything_else_is_refused(tmp_path):
    replay, _ = written(60)
    replay.save(tmp_path / "replay.safetensors")
    arrays = load_file(tmp_path / "replay.safetensors")
    save_file({k: v for k, v in arrays.items() if k != "1/last"}, tmp_path / "cut.safetensors")
    with pytest.raises(KeyError, match="last"):
        Replay(2, 3, 2, 1, WINDOW, UNIFORM).load(tmp_path / "cut.safetensors")


def test_a_saved_replay_of_another_shape_is_refused_with_both_shapes(tmp_path):
    replay, _ = written(30)
    replay.save(tmp_path / "replay.safetensors")
    with pytest.raises(ValueError, match=r"\(3, .*this run has 5 x"):
        Replay(2, 5, 2, 1, WINDOW, UNIFORM).load(tmp_path / "replay.safetensors")
