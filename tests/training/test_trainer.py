"""The loop: what is stored, how often it learns, and that an interruption changes nothing."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from training import checkpoint, collector
from training.collector import Collector, Duty
from training.trainer import Trainer


def trainer(toy, config):
    return Trainer(config, make_env=toy.StrictEnv, sizes=toy.sizes)


@pytest.fixture(autouse=True)
def _no_evaluation(monkeypatch):
    monkeypatch.setattr(Trainer, "_evaluate", lambda self: None)


def weights(run):
    return {
        f"{part}.{name}": tensor.clone()
        for part in ("model", "average")
        for name, tensor in getattr(run.learner, part).state_dict().items()
    }


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("kind", ["tiny", "published"])
@pytest.mark.parametrize("interrupted_after", [1, 2])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    toy, tmp_path, pull_the_plug, interrupted_after, kind
):
    config = getattr(toy, kind)
    straight = trainer(toy, config(tmp_path / "straight"))
    straight.run()
    assert all(tensor.isfinite().all() for tensor in weights(straight).values())

    broken = trainer(toy, config(tmp_path / "broken"))
    pull_the_plug(broken, 4 * interrupted_after + 2)  # in the middle of a segment
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    resumed = trainer(toy, config(tmp_path / "broken"))
    assert resumed.learner.updates == 4 * interrupted_after
    resumed.run()

    assert same(weights(straight), weights(resumed))
    assert straight.steps == resumed.steps
    for one, two in zip(straight.replay.buffers, resumed.replay.buffers, strict=True):
        assert all(np.array_equal(one.state()[k], two.state()[k]) for k in one.state())
    moments = [
        [state["exp_avg_sq"] for state in run.learner.optimizer.state.values()]
        for run in (straight, resumed)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*moments, strict=True))


@pytest.mark.parametrize("interrupted_after", [1, 2])
def test_a_resumed_run_searches_the_same_batches_and_uses_the_same_stored_values(
    toy, tmp_path, pull_the_plug, interrupted_after
):
    """Every third batch, in segments of four updates; stored values count from the first on."""

    def config(out):
        base = toy.tiny(out)
        targets = dataclasses.replace(
            base.targets, reanalyse_every=3, reanalyse_share=0.5, policy_staleness=6,
            search_value_after=1, search_value_newest=0,
        )  # fmt: skip
        return dataclasses.replace(base, targets=targets)

    straight = trainer(toy, config(tmp_path / "straight"))
    straight.run()
    made = np.concatenate([buffer.valued_at.ravel() for buffer in straight.replay.buffers])
    assert set(np.unique(made)) > {-1} and all((made[made >= 0] - 1) % 3 == 0)

    broken = trainer(toy, config(tmp_path / "broken"))
    pull_the_plug(broken, 4 * interrupted_after + 2)
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    resumed = trainer(toy, config(tmp_path / "broken"))
    resumed.run()
    assert same(weights(straight), weights(resumed))
    for one, two in zip(straight.replay.buffers, resumed.replay.buffers, strict=True):
        assert all(np.array_equal(one.state()[k], two.state()[k]) for k in one.state())


def test_a_resumed_run_s_metrics_are_those_of_an_uninterrupted_one_between_checkpoints_too(
    toy, tmp_path, pull_the_plug
):
    def rows(out):
        lines = (out / "metrics.jsonl").read_text().splitlines()
        return [
            {k: v for k, v in json.loads(line).items() if k != "time" and not k.startswith("ms_")}
            for line in lines
        ]

    trainer(toy, toy.tiny(tmp_path / "straight", log_every=3)).run()  # a segment is 4 updates
    broken = trainer(toy, toy.tiny(tmp_path / "broken", log_every=3))
    pull_the_plug(broken, 5)
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    trainer(toy, toy.tiny(tmp_path / "broken", log_every=3)).run()
    assert [row["updates"] for row in rows(tmp_path / "broken")] == [3, 6, 9, 12]
    assert rows(tmp_path / "broken") == rows(tmp_path / "straight")


def test_the_same_seed_gives_the_same_run_and_another_seed_another(toy, tmp_path):
    runs = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run = trainer(toy, toy.tiny(tmp_path / name, seed=seed, updates=4))
        run.run()
        runs.append(weights(run))
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


@pytest.mark.parametrize("ratio", [0.125, 0.5, 1.5])
def test_updates_per_environment_step_are_a_hard_constraint(toy, tmp_path, monkeypatch, ratio):
    run = trainer(toy, toy.tiny(tmp_path, update_ratio=ratio))
    per_step, seen = run.config.collect.envs_per_task, []
    learn, collect = run._learn, run._collect

    def learned():
        seen.append((run.learner.updates, run.steps))
        assert run.learner.updates < ratio * run.steps
        learn()

    def collected(random):
        if not random:  # a step is taken only when no update is owed
            assert run.learner.updates >= ratio * run.steps
        collect(random)

    monkeypatch.setattr(run, "_learn", learned)
    monkeypatch.setattr(run, "_collect", collected)
    run.run()
    assert run.learner.updates == run.config.updates
    needed = max(run.learner.updates - 1, 0) / ratio  # steps that allow the last update
    warm_up = 2 * (2 + 5 + 1)  # two rows, unroll 2, n = 5: more than the 12 random steps asked for
    expected = max(math.floor(needed) + 1, warm_up + 1)
    assert run.steps == math.ceil(expected / per_step) * per_step
    assert seen[0][1] > warm_up


def test_stored_transitions_obey_the_physics_of_what_was_executed(toy, tmp_path):
    """The stored action is the executed one; its reward and successor stand where they belong."""
    run = trainer(toy, toy.tiny(tmp_path))
    run.run()
    checked = 0
    for task, buffer in enumerate(run.replay.buffers):
        goal = list(toy.goals.values())[task]
        for row in range(buffer.rows):
            count = int(buffer.written[row])
            assert count < buffer.columns
            for i in range(count - 1):
                if buffer.last[row, i]:
                    continue
                place, reward = toy.dynamics(
                    buffer.observation[row, i], buffer.action[row, i], goal
                )
                assert np.allclose(place, buffer.observation[row, i + 1], atol=1e-6)
                assert reward == pytest.approx(float(buffer.reward[row, i]), abs=1e-6)
                checked += 1
            assert buffer.last[row, count - 1]  # the segment's end closes every episode
    assert checked == 3 * run.steps


def test_terminal_frames_are_those_that_left_the_world_and_no_others(toy, tmp_path):
    run = trainer(toy, toy.tiny(tmp_path))
    run.run()
    terminals = truncations = 0
    for buffer in run.replay.buffers:
        outside = np.abs(buffer.observation).max(-1) >= 1.0
        assert np.array_equal(buffer.terminal, buffer.last & outside)
        terminals += int(buffer.terminal.sum())
        truncations += int((buffer.last & ~buffer.terminal).sum())
    assert terminals > 0
    assert truncations > 0


@pytest.mark.parametrize(
    ("share", "limits"),
    [(0.0, [1000, 1000, 1000]), (1 / 3, [9, 1000, 1000]), (0.4, [9, 9, 1000]), (2.0, [9, 9, 9])],
)
def test_episodes_last_1000_steps_from_the_first_segment_after_that_share_of_the_updates(
    toy, tmp_path, share, limits
):
    seen = []

    class Watched(toy.StrictEnv):
        def __init__(self, tasks, *, max_steps, **others):
            seen.append(int(np.max(max_steps)))
            super().__init__(tasks, max_steps=max_steps, **others)

    base = toy.tiny(tmp_path)  # 12 updates in three segments, episodes of 9 steps
    collect = dataclasses.replace(base.collect, long_episodes_after=share)
    Trainer(dataclasses.replace(base, collect=collect), Watched, toy.sizes).run()
    assert seen == limits


def test_below_the_fall_height_a_training_episode_is_over_for_good(toy, tmp_path):
    base = toy.tiny(tmp_path)
    collect = dataclasses.replace(base.collect, terminate=False, fall_height=-0.4)
    run = trainer(toy, dataclasses.replace(base, collect=collect))
    run.run()
    terminals = 0
    for buffer in run.replay.buffers:
        low = buffer.observation[..., 2] < -0.4  # the toy's third coordinate stands for the pelvis
        assert np.array_equal(buffer.terminal, buffer.last & low)
        terminals += int(buffer.terminal.sum())
    assert terminals > 0


def test_exploration_noise_grows_over_the_rows_of_a_task_by_its_spread(toy, tmp_path, monkeypatch):
    base = toy.tiny(tmp_path)
    collect = dataclasses.replace(base.collect, envs_per_task=3, noise=0.06, noise_spread=3.0,
                                  noise_end=0.06)  # fmt: skip
    run = trainer(toy, dataclasses.replace(base, collect=collect))
    still = type("Result", (), {"action": torch.zeros(9, 3)})
    monkeypatch.setattr(collector, "plan", lambda *_: still)
    duty = Duty.of(run.config, run.task_index, 9)
    env = toy.Env([list(toy.goals)[task] for task in duty.task], seed=0)
    acting = Collector(run.config, run.learner.average, run.planner, duty, env,
                       np.random.default_rng(0), torch.Generator())  # fmt: skip
    action = np.stack([acting.planned_action(0.5) for _ in range(4000)])
    expected = np.tile([0.02, 0.06, 0.18], 3)  # 0.06 / 3, 0.06, 0.06 * 3 for each task
    assert np.allclose(action.std(axis=(0, 2)), expected, rtol=0.05)
    parts = duty.split(2)  # shared out, every row keeps its noise
    np.testing.assert_array_equal(np.concatenate([part.spread for part in parts]), duty.spread)
    np.testing.assert_array_equal(np.concatenate([part.task for part in parts]), duty.task)


def test_every_batch_holds_every_task_equally(toy, tmp_path, monkeypatch):
    run = trainer(toy, toy.tiny(tmp_path))
    update, counts = run.learner.update, []

    def watched(batch):
        counts.append(torch.bincount(batch.task, minlength=3).tolist())
        return update(batch)

    monkeypatch.setattr(run.learner, "update", watched)
    run.run()
    assert counts == [[4, 4, 4]] * 12


def test_warm_up_actions_are_uniform_within_their_scale(toy, tmp_path):
    base = toy.tiny(tmp_path)
    collect = dataclasses.replace(
        base.collect, random_steps=3000, random_scale=0.5, terminate=False
    )
    run = trainer(toy, dataclasses.replace(base, updates=1, segment=1, evaluate_every=1,
                                           collect=collect))  # fmt: skip
    run.run()
    buffer = run.replay.buffers[0]
    taken = ~buffer.last & (np.arange(buffer.columns) < buffer.written[:, None])
    action = buffer.action[taken]
    assert len(action) > 3000
    assert np.abs(action).max() <= 0.5
    assert action.std() == pytest.approx(0.5 / 3**0.5, rel=0.02)


def test_acting_uses_the_moving_average_not_the_weights_being_trained(toy, tmp_path, monkeypatch):
    run = trainer(toy, toy.tiny(tmp_path))
    used = []
    plan = collector.plan

    def watched(model, *arguments):
        used.append(model is run.learner.average)
        return plan(model, *arguments)

    monkeypatch.setattr(collector, "plan", watched)
    run.run()
    assert used
    assert all(used)


def test_a_run_leaves_its_configuration_its_metrics_and_its_newest_replay(toy, tmp_path):
    run = trainer(toy, toy.tiny(tmp_path))
    run.run()
    saved = json.loads((tmp_path / "config.json").read_text())["config"]
    assert checkpoint.from_dict(saved) == run.config
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["updates"] for row in rows] == [4, 8, 12]
    assert all(math.isfinite(row["loss"]) for row in rows)
    folders = sorted(p.name for p in (tmp_path / "checkpoints").iterdir() if p.is_dir())
    assert folders == ["00000004", "00000008", "00000012"]
    kept = [f for f in folders if (tmp_path / "checkpoints" / f / "replay.safetensors").exists()]
    assert kept == ["00000012"]


def test_a_finished_run_started_again_does_nothing(toy, tmp_path):
    run = trainer(toy, toy.tiny(tmp_path))
    run.run()
    before, made = weights(run), toy.StrictEnv.made
    again = trainer(toy, toy.tiny(tmp_path))
    again.run()
    assert toy.StrictEnv.made == made
    assert same(before, weights(again))


def test_a_run_started_from_a_checkpoint_has_its_weights_and_an_empty_replay(toy, tmp_path):
    first = trainer(toy, toy.tiny(tmp_path / "first"))
    first.run()
    second = trainer(toy, toy.tiny(tmp_path / "second", init=str(tmp_path / "first"), seed=5))
    acting = first.learner.average.state_dict()
    assert all(torch.equal(v, acting[k]) for k, v in second.learner.model.state_dict().items())
    assert all(torch.equal(v, acting[k]) for k, v in second.learner.average.state_dict().items())
    assert sum(len(buffer) for buffer in second.replay.buffers) == 0


def test_max_minutes_stops_at_the_end_of_a_segment_and_can_be_resumed(toy, tmp_path):
    run = trainer(toy, toy.tiny(tmp_path, max_minutes=1e-6))
    run.run()
    assert run.learner.updates == 4
    rest = trainer(toy, toy.tiny(tmp_path))
    rest.run()
    straight = trainer(toy, toy.tiny(tmp_path / "straight"))
    straight.run()
    assert same(weights(rest), weights(straight))
