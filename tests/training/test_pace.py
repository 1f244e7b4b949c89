"""The ratio of updates to data, and runs whose replay was not kept."""

import dataclasses

import pytest

from training.checkpoint import CheckpointError
from training.pace import Pace
from training.presets import PRESETS
from training.run_folder import complete, resumable
from training.trainer import Trainer

DEBUG = PRESETS["debug"]


def pace(rows=2, window=4, random_steps=0, ratio=0.5, updates=100, offline=0, pretrain=0):
    config = dataclasses.replace(
        DEBUG, updates=updates, update_ratio=ratio, offline_updates=offline,
        collect=dataclasses.replace(DEBUG.collect, envs_per_task=rows, random_steps=random_steps),
    )  # fmt: skip
    return Pace(config, window, pretrain, shown=pretrain > 0)


def walk(this, updates, rounds):
    """Return the updates after each of so many rounds of collecting, each with all it pays for."""
    found = []
    for _ in range(rounds):
        this.step()
        updates += this.owed(updates, 1000, lambda: True)
        found.append(updates)
    return found


def test_the_first_fill_is_a_window_in_every_row_and_its_steps_buy_updates_after_it():
    this = pace(rows=2, window=4)  # ten steps
    assert walk(this, 0, 7) == [0, 0, 0, 0, 0, 6, 7]  # half an update a step, from the 12th on


def test_more_random_steps_than_that_are_waited_for_and_are_random():
    this = pace(rows=2, window=4, random_steps=13)
    assert this.random
    assert walk(this, 0, 6) == [0] * 6
    assert this.random  # the step to come
    assert walk(this, 0, 1) == [7]
    assert not this.random


def test_a_replay_that_was_not_kept_is_filled_before_any_update_and_that_buys_none():
    this = pace(rows=2, window=4)
    this.load({"steps": 100})
    this.emptied()
    assert this.owed(50, 1000, lambda: True) == 0
    assert not this.random
    assert walk(this, 50, 8) == [50] * 6 + [51, 52]  # 12 steps to fill it, from then on as before
    assert this.state() == {"steps": 116, "unpaid": 12}
    again = pace(rows=2, window=4)
    again.load(this.state())  # with its replay
    assert walk(again, 52, 3) == [53, 54, 55]
    again.emptied()  # a second time
    assert walk(again, 55, 8) == [55] * 6 + [56, 57]
    assert again.steps - again.unpaid == 2 * 57


def test_updates_without_new_data_wait_for_a_replay_too_those_on_demonstrations_do_not():
    this = pace(offline=40)
    this.load({"steps": 100})
    assert this.owed(60, 8, lambda: True) == 8
    this.emptied()
    assert this.owed(60, 8, lambda: True) == 0
    assert walk(this, 60, 6)[-1] >= 100
    shown = pace(pretrain=30)
    shown.emptied()
    assert shown.owed(20, 1000, lambda: True) == 10


def test_what_was_dropped_may_have_been_all_there_is():
    this = pace(rows=2, window=4)
    for _ in range(6):
        this.step()
    assert this.owed(0, 1000, lambda: False) == 0
    assert this.owed(0, 1000, lambda: True) == 6


@pytest.fixture
def small(toy, tmp_path, monkeypatch):
    """Return what opens a run whose checkpoints have no replay."""
    monkeypatch.setattr(Trainer, "_evaluate", lambda self: None)

    def opened(name="run", save=False, **changes):
        config = toy.tiny(tmp_path / name, **changes)
        config = dataclasses.replace(config, replay=dataclasses.replace(config.replay, save=save))
        return Trainer(config, make_env=toy.StrictEnv, sizes=toy.sizes)

    return opened


def test_a_run_without_its_replay_collects_first_and_goes_on_to_its_end(
    small, tmp_path, pull_the_plug, capsys
):
    run = small()
    pull_the_plug(run, 6)
    with pytest.raises(KeyboardInterrupt):
        run.run()
    folder = tmp_path / "run" / "checkpoints" / "00000004"
    assert sorted(file.name for file in folder.iterdir()) == [
        "agent.safetensors", "learner.safetensors", "state.json",
    ]  # fmt: skip
    assert resumable(tmp_path / "run") == folder

    again = small()
    assert "it has no replay (replay.save=false): first 16 steps a task" in capsys.readouterr().out
    assert (again.learner.updates, len(again.replay.buffers[0])) == (4, 0)
    learn, first = again._learn, []
    again._learn = lambda: (first.append(again.steps), learn())
    again.run()
    assert again.pace.unpaid == 18  # two rows a round
    assert first[0] - 18 == 28  # 0.15 * 28 > 4 updates, those there were
    assert again.learner.updates == 12
    straight = small("straight")
    straight.run()
    assert again.steps == straight.steps + 18  # the same ratio, but for the fill
    # only the newest has what a run goes on from
    names = {path.parent.name for path in (tmp_path / "run").glob("checkpoints/*/learner*")}
    assert names == {"00000012"}


def test_whether_the_replay_is_kept_may_change_at_any_resume(small, tmp_path, pull_the_plug):
    run = small(save=True)
    pull_the_plug(run, 6)
    with pytest.raises(KeyboardInterrupt):
        run.run()
    kept = small(save=False)
    assert kept.pace.empty_at == 0  # it was there: nothing to fill
    assert all(len(buffer) for buffer in kept.replay.buffers)
    kept.run()
    assert not (tmp_path / "run/checkpoints/00000012/replay.safetensors").exists()
    again = small(save=True, updates=16)
    again.run()
    assert (tmp_path / "run/checkpoints/00000016/replay.safetensors").is_file()
    assert again.pace.unpaid == 18


def test_a_replay_that_should_be_there_is_missed(small, tmp_path):
    small(save=True).run()
    folder = tmp_path / "run" / "checkpoints" / "00000012"
    assert complete(tmp_path / "run") == [folder]
    (folder / "replay.safetensors").unlink()
    assert complete(tmp_path / "run") == []
    with pytest.raises(CheckpointError, match=r"replay\.safetensors is not there"):
        small(save=True)
