"""Episodes grow long once a task has nothing more to gain, and the last updates see no new data."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from training.cli import ConfigError
from training.presets import PRESETS
from training.saturation import Saturation
from training.trainer import Trainer


@pytest.fixture(autouse=True)
def _no_evaluation(monkeypatch):
    monkeypatch.setattr(Trainer, "_evaluate", lambda self: None)


def told(returns, share=0.1):
    saturation = Saturation(2, share)
    for value in returns:
        saturation.observe(1, value)
    assert not saturation.reached[0]
    return bool(saturation.reached[1])


def test_a_task_is_saturated_when_ten_returns_above_60_differ_by_less_than_a_tenth():
    assert told([100.0] * 9 + [91.0])
    assert not told([100.0] * 9 + [89.9])
    assert not told([100.0] * 9), "ten of them"
    assert not told([60.0] * 10), "above 60"
    assert told([0.0, 500.0] + [100.0] * 10), "the last ten"
    assert not told([100.0] * 10, share=0.0)


def test_a_saturated_task_remains_so_and_is_told_to_a_file():
    saturation = Saturation(1, 0.1)
    for value in [100.0] * 10 + [900.0] * 3:
        saturation.observe(0, value)
    again = Saturation(1, 0.1)
    again.load(json.loads(json.dumps(saturation.state())))
    assert again.reached.tolist() == [True]
    assert list(again.returns[0]) == [100.0] * 7 + [900.0] * 3
    older = Saturation(1, 0.1)
    older.load({})
    assert older.reached.tolist() == [False]


def run_of(toy, out, **changes):
    config = toy.tiny(out, **changes)
    return Trainer(config, make_env=toy.StrictEnv, sizes=toy.sizes)


def test_only_the_saturated_task_has_long_episodes_from_the_next_segment_on(
    toy, tmp_path, monkeypatch
):
    base = toy.tiny(tmp_path)
    collect = dataclasses.replace(base.collect, long_episodes_after=2.0)
    run = run_of(toy, tmp_path, collect=collect, updates=8, evaluate_every=8)
    begin, limits = run.engine.begin, []

    def watched(duty, segment):
        limits.append(duty.step_limit.tolist())
        run.saturation.reached[1] = True
        return begin(duty, segment)

    monkeypatch.setattr(run.engine, "begin", watched)
    run.run()
    assert limits == [[9] * 6, [9, 9, 1000, 1000, 9, 9]]
    state = json.loads((tmp_path / "checkpoints" / "00000008" / "state.json").read_text())
    assert state["saturation"]["reached"] == [False, True, False]


def test_the_last_updates_see_no_new_data_and_are_no_part_of_the_progress(toy, tmp_path):
    online = run_of(toy, tmp_path / "a", updates=8, evaluate_every=8)
    online.run()
    longer = run_of(toy, tmp_path / "b", updates=20, evaluate_every=20, offline_updates=12)
    longer.run()
    assert longer.learner.updates == 20
    assert longer.steps == online.steps
    assert longer.config.online_updates == online.config.updates
    for ours, theirs in zip(longer.replay.buffers, online.replay.buffers, strict=True):
        np.testing.assert_array_equal(ours.observation, theirs.observation)


@pytest.mark.parametrize("name", ["hb_medium", "hb_hard"])
def test_the_published_budget_comes_out(name):
    config = PRESETS[name]
    steps = config.online_updates / config.update_ratio
    assert steps == pytest.approx({"hb_medium": 1e6, "hb_hard": 2e6}[name])
    assert config.offline_updates == 20_000


def test_more_offline_updates_than_updates_are_refused(toy, tmp_path):
    with pytest.raises(ConfigError, match=r"offline_updates=12 is not in 0\.\.11"):
        toy.tiny(tmp_path, offline_updates=12)
