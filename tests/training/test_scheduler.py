"""Spreading samples over tasks: exact splits, shares that follow progress, a state that resumes."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.scheduler import Balanced, LearningProgress, ScheduleConfig, allot, make_scheduler
from training.trainer import Trainer

PROGRESS = ScheduleConfig(kind="learning_progress", explore=0.4, quick=5.0, slow=20.0)


@given(
    st.lists(st.floats(0.001, 1.0), min_size=1, max_size=12),
    st.integers(0, 200),
    st.integers(0, 3),
)
def test_an_allotment_adds_up_and_keeps_its_bounds(shares, extra, least):
    tasks = len(shares)
    total = least * tasks + extra
    most = least + extra // tasks + 2
    counts = allot(np.array(shares), total, least, most)
    assert counts.sum() == total
    assert counts.min() >= least and counts.max() <= most


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8))
def test_whole_shares_are_met_exactly(wanted):
    assert allot(np.array(wanted, float), sum(wanted)).tolist() == wanted


@given(st.lists(st.floats(0.05, 1.0), min_size=2, max_size=8), st.integers(100, 300))
def test_without_bounds_in_the_way_nothing_is_a_whole_sample_off(shares, total):
    exact = total * np.array(shares) / sum(shares)
    if exact.min() >= 1.0:
        assert np.abs(allot(np.array(shares), total) - exact).max() < 1.0 + 1e-6


def test_what_cannot_be_split_is_refused():
    with pytest.raises(ValueError, match="2 cannot be split into 3 parts of 1"):
        allot(np.ones(3), 2)


def test_balanced_stays_balanced_whatever_it_hears():
    scheduler = Balanced([1.0, 3.0])
    for score in range(20):
        scheduler.observe(0, float(score))
    assert scheduler.shares() == pytest.approx([0.25, 0.75])


def test_a_constant_score_of_any_height_is_no_progress():
    scheduler = LearningProgress([1.0, 1.0], PROGRESS)
    for _ in range(50):
        scheduler.observe(0, 0.9)
        scheduler.observe(1, 0.0)
    assert scheduler.shares() == pytest.approx([0.5, 0.5])


def test_progress_on_a_ramp_is_the_slope_times_the_difference_of_the_time_constants():
    """An exponential mean with time constant n lags a ramp by n - 1 steps of it, in the limit."""
    slope = 1e-4
    scheduler = LearningProgress([1.0, 1.0], PROGRESS)
    for step in range(2000):
        scheduler.observe(0, slope * step)
        scheduler.observe(1, 0.3)
    assert scheduler.progress()[0] == pytest.approx(slope * (20.0 - 5.0), rel=1e-6)
    assert scheduler.shares() == pytest.approx([0.4 / 2 + 0.6, 0.4 / 2])


def test_what_is_being_forgotten_gets_samples_as_what_is_being_learnt_does():
    scheduler = LearningProgress([1.0] * 3, PROGRESS)
    for step in range(30):
        for task, score in enumerate((0.5 + 0.01 * step, 0.5 - 0.01 * step, 0.5)):
            scheduler.observe(task, score)
    shares = scheduler.shares()
    assert shares[0] == pytest.approx(shares[1])
    assert shares[2] == pytest.approx(0.4 / 3)


def test_larger_rewards_alone_do_not_draw_samples():
    """A task of rewards up to 20 a step that improves by a tenth equals one of rewards up to 1."""
    scheduler = LearningProgress([1.0, 1.0], PROGRESS)
    for task, size in ((0, 1.0), (1, 20.0)):
        for score in (0.9, *[1.0] * 8):
            scheduler.observe(task, size * score)
    assert scheduler.shares() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("kind", ["balanced", "learning_progress"])
def test_a_state_that_went_through_json_goes_on_to_the_same_shares(kind):
    config = dataclasses.replace(PROGRESS, kind=kind)
    rng = np.random.default_rng(0)
    one = make_scheduler(config, 3, ())
    for score in rng.random(100):
        one.observe(int(3 * score), float(score))
    other = make_scheduler(config, 3, ())
    other.load(json.loads(json.dumps(one.state())))
    for score in rng.random(20):
        one.observe(1, float(score))
        other.observe(1, float(score))
    assert np.array_equal(one.shares(), other.shares())


def test_a_state_of_other_tasks_is_refused():
    with pytest.raises(ValueError, match="knows 2 tasks, this run 3"):
        make_scheduler(PROGRESS, 3, ()).load(make_scheduler(PROGRESS, 2, ()).state())


@pytest.mark.parametrize(
    "wrong", [{"kind": "random"}, {"explore": 0.0}, {"quick": 30.0, "slow": 20.0}]
)
def test_settings_without_sense_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=f"schedule.{next(iter(wrong))}="):
        ScheduleConfig(**wrong)


def favour_the_first(run):
    """Let a run's scheduler have seen progress on the first task only."""
    for step in range(40):
        for task in range(3):
            run.scheduler.observe(task, 0.02 * step if task == 0 else 0.4)


def progressing(toy, out):
    return toy.tiny(out, schedule=PROGRESS, updates=12, segment=4)


def test_rows_and_batches_follow_the_shares_and_their_sums_stay(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "_evaluate", lambda self: None)
    run = Trainer(progressing(toy, tmp_path), make_env=toy.StrictEnv, sizes=toy.sizes)
    favour_the_first(run)
    batches, rows, learn = [], [], run._learn

    def learned():
        batch = run.batches.sample(run.learner.updates, np.random.default_rng(0))
        batches.append(np.bincount(batch.task, minlength=3))
        rows.append(np.bincount(run.task_index, minlength=3))
        learn()

    monkeypatch.setattr(run, "_learn", learned)
    run.run()
    assert all(counts.sum() == 12 for counts in batches)
    assert all(counts.sum() == 6 and counts.max() <= 4 for counts in rows)
    assert batches[0][0] > 6 and rows[0][0] == 4
    written = [int(buffer.written.sum()) for buffer in run.replay.buffers]
    assert written[0] > 1.4 * written[1]


def test_a_resumed_run_with_moving_shares_ends_as_an_uninterrupted_one(
    toy, tmp_path, monkeypatch, pull_the_plug
):
    monkeypatch.setattr(Trainer, "_evaluate", lambda self: None)

    def run(folder, updates=12):
        config = dataclasses.replace(progressing(toy, tmp_path / folder), updates=12)
        made = Trainer(config, make_env=toy.StrictEnv, sizes=toy.sizes)
        if made.learner.updates == 0:
            favour_the_first(made)
        pull_the_plug(made, updates)
        return made

    straight = run("straight")
    straight.run()
    broken = run("broken", updates=10)
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    resumed = run("broken")
    assert resumed.learner.updates == 8
    resumed.run()
    assert straight.scheduler.state() == resumed.scheduler.state()
    pairs = zip(
        straight.learner.model.parameters(), resumed.learner.model.parameters(), strict=True
    )
    assert all(torch.equal(a, b) for a, b in pairs)
