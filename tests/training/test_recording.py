"""`record=true`: a run's own episodes, in the format that another run's `demos=` reads."""

import dataclasses

import numpy as np
import pytest

from training import demos
from training.cli import ConfigError
from training.collector import Moment
from training.presets import load_config
from training.recording import Recorder
from training.trainer import Trainer

WORDS = ["preset=debug", "tasks=[stand,walk]", "evaluate_every=80", "collect.action_map=stance",
         "update_ratio=0.2", "collect.random_steps=40"]  # fmt: skip
TASKS = ("stand", "walk")


def config(out, *words):
    return load_config([*WORDS, f"out={out}", *words])


def episodes_of(parts):
    """Return the episodes among frames as tuples that can be sorted and compared."""
    stops = np.flatnonzero(parts["last"]) + 1
    names = ("observation", "action", "reward", "last", "terminal")
    return sorted(
        b"".join(np.ascontiguousarray(parts[n][start:stop]).tobytes() for n in names)
        for start, stop in zip([0, *stops[:-1]], stops, strict=True)
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that records episodes of 15 steps, and those that a segment's end cuts."""
    out = tmp_path_factory.mktemp("record") / "run"
    trainer = Trainer(config(out, "record=true", "collect.episode_steps=15"))
    trainer.run()
    return trainer


def recorded(trainer):
    view = trainer.config.collect.observation
    return demos.read(trainer.run_folder, TASKS, "stance", view)


def held(trainer, task):
    """Return the episodes of a task that its replay holds, in the rows of its own robots."""
    buffer, found = trainer.replay.buffers[task], []
    for row in np.flatnonzero(buffer.own):
        used = slice(0, buffer.written[row])
        names = ("observation", "action", "reward", "last", "terminal")
        found += episodes_of({name: getattr(buffer, name)[row, used] for name in names})
    return sorted(found)


def test_the_files_hold_the_replays_episodes_segment_by_segment(run):
    files = sorted(path.name for path in (run.run_folder / "episodes").iterdir())
    assert files == ["00000020.safetensors", "00000040.safetensors"]
    parts = recorded(run)
    for index, task in enumerate(TASKS):
        assert episodes_of(parts[task]) == held(run, index)
        np.testing.assert_array_equal(parts[task]["label"], parts[task]["action"])
        lengths = np.diff(np.flatnonzero(parts[task]["last"]), prepend=-1) - 1
        assert {9, 15} < set(lengths.tolist())  # cut by the segment, ended by the limit


def test_shared_experience_is_recorded_once_with_its_own_reward(tmp_path):
    trainer = Trainer(config(tmp_path, "record=true", "replay.shared=true", "updates=20"))
    trainer.run()
    parts = recorded(trainer)
    for index, task in enumerate(TASKS):
        assert episodes_of(parts[task]) == held(trainer, index)


def test_an_interrupted_run_records_what_an_uninterrupted_one_does(run, tmp_path, pull_the_plug):
    settings = dataclasses.replace(run.config, out=str(tmp_path / "two"))
    trainer = Trainer(settings)
    pull_the_plug(trainer, 30)
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    again = Trainer(settings)
    again.run()
    ours, theirs = recorded(run), recorded(again)
    for task in TASKS:
        for name in demos.FIELDS:
            np.testing.assert_array_equal(ours[task][name], theirs[task][name])


def test_another_run_learns_from_them(run, tmp_path):
    words = ["imitation.pretrain=4", "updates=8", "segment=4",
             f"demos={run.run_folder}"]  # fmt: skip
    trainer = Trainer(config(tmp_path / "next", *words))
    assert trainer.batches.sample(0, np.random.default_rng(0)).demo.all()
    trainer.run()
    assert trainer.learner.updates == 8
    assert not (tmp_path / "next" / "episodes").exists()  # record is off


def test_the_view_that_was_recorded_is_not_taken_for_another(tmp_path):
    words = ("record=true", "updates=20")
    trainer = Trainer(config(tmp_path, "collect.observation=body", *words))
    trainer.run()
    assert recorded(trainer)["walk"]["observation"].shape[1] == 50
    with pytest.raises(ConfigError, match=r"observation='body', this run has 'benchmark'"):
        demos.read(tmp_path, TASKS, "stance")


def test_a_folder_without_episodes_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"holds no \.safetensors file"):
        demos.read(tmp_path, TASKS, "stance")


def test_what_was_not_executed_cannot_be_recorded(tmp_path):
    with pytest.raises(ConfigError, match=r"random_stores='planned' keeps something else"):
        config(tmp_path, "record=true", "collect.random_stores=planned")


def test_an_episode_that_the_simulation_broke_is_left_out(tmp_path):
    settings = config(tmp_path, "record=true")
    recorder = Recorder(settings, np.array([0, 1]))
    ones, none = np.ones((2, 51), np.float32), np.zeros(2)
    broken = np.array([True, False])
    moment = Moment(
        ones, np.zeros((2, 19), np.float32), np.ones(2), np.zeros((2, 0)), ones, broken,
        np.ones(2, bool), broken, np.where(broken, "broke down", ""), ones, none, none,
    )  # fmt: skip
    recorder.add(moment)
    recorder.cut(np.ones(2, bool), ones, np.ones(2, bool))
    recorder.write(tmp_path / "d.safetensors", {})
    parts = demos.read(tmp_path, ("walk",), settings.collect.action_map)["walk"]
    np.testing.assert_array_equal(parts["last"], [False, True])
    np.testing.assert_array_equal(parts["terminal"], [False, True])
    with pytest.raises(ConfigError, match="no episodes of"):
        demos.read(tmp_path, ("stand",), settings.collect.action_map)
