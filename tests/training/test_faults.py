"""Numbers that are not finite: at collection the end of the episode is dropped, an update skipped.

The toy breaks one row at one step; what was seen before that step tells the frame.
"""

import dataclasses
import json

import numpy as np
import pytest
import torch

from training import faults
from training.config import TargetConfig
from training.learner import Learner
from training.presets import PRESETS
from training.rows import Step
from training.trainer import Trainer

ROW, WHEN = 2, 10  # row 0 of the second task; control step of an environment
SAID = {
    "observation": "right in row 2: column 1 of the observation is nan",
    "reward": "right in row 2: the reward is inf",
    "failed": "right in row 2: the simulation broke down",
    "first": "right in row 2: column 1 of the first observation is nan",
}


@pytest.fixture(autouse=True)
def _no_evaluation(monkeypatch):
    monkeypatch.setattr(Trainer, "_evaluate", lambda self: None)


def breaking(toy, kind, when=WHEN):
    """Return an environment class that breaks in ROW, and a list of the frames it broke in."""
    before = []

    class Env(toy.StrictEnv):
        taken, broken = 0, False

        def reset(self, rows=None):
            seen = super().reset(rows)
            again = rows is not None and rows[ROW] and self.taken >= when
            if kind == "first" and again and not self.broken:
                self.broken, seen[ROW, 1] = True, np.nan
                before.append(np.zeros(3, np.float32))
            return seen

        def step(self, action):
            place = self.position[ROW].astype(np.float32)
            step = super().step(action)
            self.taken += 1
            if kind == "first" or self.taken != when:
                return step
            before.append(place)
            obs, reward = step.obs.copy(), step.reward.copy()
            failed, terminated = np.zeros(len(reward), bool), step.terminated.copy()
            if kind == "observation":
                obs[ROW, 1] = np.nan
            elif kind == "reward":
                reward[ROW] = np.inf
            else:
                failed[ROW] = terminated[ROW] = True
                obs[ROW] = reward[ROW] = 0.0
            return Step(obs, reward, terminated, step.truncated, {}, failed)

    return Env, before


def watched(run, monkeypatch):
    """Return a list of the batches that a run is going to sample."""
    sample, batches = run.batches.sample, []

    def kept(*arguments):
        batches.append(sample(*arguments))
        return batches[-1]

    monkeypatch.setattr(run.batches, "sample", kept)
    return batches


def finite_weights(run):
    parts = [*run.learner.model.state_dict().values(), *run.learner.average.state_dict().values()]
    return all(bool(tensor.isfinite().all()) for tensor in parts)


def config(toy, out, **changes):
    base = toy.tiny(out, segment=12, update_ratio=0.25, updates=24, evaluate_every=24, log_every=12)
    collect = dataclasses.replace(
        base.collect, terminate=False, episode_steps=14, long_episodes_after=2.0
    )
    return dataclasses.replace(base, collect=collect, **changes)


@pytest.mark.parametrize("kind", SAID)
def test_training_goes_on_without_the_end_of_an_episode_that_broke(
    toy, tmp_path, monkeypatch, capsys, kind
):
    env, before = breaking(toy, kind)
    run = Trainer(config(toy, tmp_path), make_env=env, sizes=toy.sizes)
    batches = watched(run, monkeypatch)
    run.run()
    assert run.learner.updates == 24
    assert finite_weights(run)
    assert len(before) == 2  # once a segment

    found = 0
    for buffer in run.replay.buffers:
        for name in ("observation", "action", "reward", "stored_action", "stored_value"):
            assert np.isfinite(getattr(buffer, name)).all(), name
        assert not buffer.terminal.any()
    buffer = run.replay.buffers[1]
    held = np.arange(buffer.columns) < buffer.written[0]
    for place in np.unique(before, axis=0):
        bad = np.flatnonzero((buffer.observation[0] == place).all(-1) & held)
        for column, end in bad.reshape(-1, 2):
            assert end == column + 1  # it ends where it last was sound
            assert buffer.last[0, [column, end]].tolist() == [False, True]
            ended = np.flatnonzero(buffer.last[0, :column])
            begun = ended[-1] + 1 if len(ended) else 0
            roots = np.arange(max(column - buffer.window, begun), column + 1)
            assert buffer.dropped[0, roots].all()
            assert not buffer.priority[0, roots].any()
            found += len(roots)
    assert sum(int(b.dropped.sum()) for b in run.replay.buffers) == found  # and nothing else

    for batch in batches:
        for place in before:
            bad = (batch.observation == place).all(-1) & batch.alive & (batch.task == 1)[:, None]
            assert not bad.any()
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row.get("dropped_blocks") for row in rows] == [1, 1]
    assert [row.get("failed_episodes") for row in rows] == [1 if kind == "failed" else None] * 2
    said = capsys.readouterr().out
    assert said.count(f"1 blocks dropped; the first: {SAID[kind]}") == 2


def test_what_follows_the_drop_is_learnt_from_again(toy, tmp_path):
    env, before = breaking(toy, "observation")
    run = Trainer(config(toy, tmp_path), make_env=env, sizes=toy.sizes)
    run.run()
    buffer = run.replay.buffers[1]
    column = int((buffer.observation[0] == before[0]).all(-1).argmax())
    assert buffer.priority[0, column + 2 : column + 8].all()


def test_a_run_whose_simulation_breaks_resumes_to_the_same_numbers(toy, tmp_path, pull_the_plug):
    def start(out):
        env, _ = breaking(toy, "observation")
        return Trainer(config(toy, tmp_path / out), make_env=env, sizes=toy.sizes)

    straight = start("straight")
    straight.run()
    broken = start("broken")
    pull_the_plug(broken, 15)
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    resumed = start("broken")
    resumed.run()
    ours, theirs = straight.learner.model.state_dict(), resumed.learner.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    for one, two in zip(straight.replay.buffers, resumed.replay.buffers, strict=True):
        assert all(np.array_equal(one.state()[k], two.state()[k]) for k in one.state())


def test_the_warm_up_lasts_until_every_task_has_a_window(toy, tmp_path):
    """The only windows there are end in the break."""
    env, before = breaking(toy, "observation", when=8)  # in the third task
    base = config(toy, tmp_path, updates=4, segment=4, evaluate_every=4, update_ratio=1.0)
    collect = dataclasses.replace(base.collect, envs_per_task=1, random_steps=0)
    run = Trainer(dataclasses.replace(base, collect=collect), make_env=env, sizes=toy.sizes)
    learn, steps = run._learn, []
    run._learn = lambda: (steps.append(run.steps), learn())
    run.run()
    assert run.pace.fill == 8
    assert len(before) == 1
    assert steps[0] == 8 + run.replay.window + 1  # a whole window after the break
    assert run.learner.updates == 4


@pytest.fixture
def poisoned(toy, tmp_path):
    """Return a run whose replay was given a frame that is not finite, as older runs' may have."""
    run = Trainer(config(toy, tmp_path), make_env=toy.StrictEnv, sizes=toy.sizes)
    collect, buffer = run._collect, run.replay.buffers[1]

    def spoil(random):
        collect(random)
        if run.steps == 24:
            buffer.observation[0, 4] = np.nan

    run._collect = spoil
    return run


def test_an_update_on_what_is_not_finite_is_skipped_and_its_sample_never_drawn_again(
    poisoned, tmp_path, monkeypatch, capsys
):
    batches, dropped = watched(poisoned, monkeypatch), []
    drop = poisoned.replay.drop

    def noted(batch, guilty):
        dropped.extend(zip(batch.task[guilty], *(p[guilty] for p in batch.place[1:]), strict=True))
        skipped.append(len(batches) - 1)
        drop(batch, guilty)

    skipped = []
    monkeypatch.setattr(poisoned.replay, "drop", noted)
    poisoned.run()
    assert finite_weights(poisoned)
    assert poisoned.learner.updates == 24
    buffer = poisoned.replay.buffers[1]
    assert 0 < len(skipped) <= len(set(dropped)) <= buffer.window + 1
    for task, row, column in set(dropped):
        assert task == 1
        assert buffer.dropped[row, column]
        assert buffer.priority[row, column] == 0.0
        seen = [(b.place[0] == task) & (b.place[1] == row) & (b.place[2] == column)
                for b in batches]  # fmt: skip
        assert max(i for i, mine in enumerate(seen) if mine.any()) in skipped  # then never again
    assert sum(int(b.dropped.sum()) for b in poisoned.replay.buffers) == len(set(dropped))
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert sum(row.get("skipped_updates", 0) for row in rows) == len(skipped)
    assert [row["updates"] for row in rows] == [12, 24]
    said = capsys.readouterr().out
    assert "updates skipped; the first: update" in said
    assert "not finite are observation" in said
    assert "samples to blame: right" in said


def test_how_many_updates_were_skipped_in_a_row_outlasts_an_interruption(toy, tmp_path):
    def start():
        return Trainer(config(toy, tmp_path), make_env=toy.StrictEnv, sizes=toy.sizes)

    run = start()
    run.learner.skipped = 7
    run._save()
    assert start().learner.skipped == 7
    file = tmp_path / "checkpoints" / "00000000" / "state.json"
    state = json.loads(file.read_text())
    del state["skipped"]  # as older runs' are
    file.write_text(json.dumps(state))
    assert start().learner.skipped == 0


CONFIG = dataclasses.replace(
    PRESETS["debug"],
    tasks=("stand", "walk"),
    updates=100,
    targets=TargetConfig(unroll=3, reanalyse_positions=1),
)


def everything(learner):
    """Return copies of all that an update may change."""
    named = [("model", learner.model.state_dict()), ("average", learner.average.state_dict())]
    kept = {f"{part}.{name}": v.clone() for part, d in named for name, v in d.items()}
    for i, state in enumerate(learner.optimizer.state.values()):
        kept |= {f"adam.{i}.{name}": torch.as_tensor(v).clone() for name, v in state.items()}
    return kept


@pytest.mark.parametrize("norm", ["layer", "batch"])
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("field", ["observation", "action", "reward", "value", "policy", "weight"])
def test_a_batch_with_a_sample_that_is_not_finite_changes_nothing_but_the_count(
    small, norm, number, field
):
    optim = dataclasses.replace(CONFIG.optim, ema_every=1)
    learner = Learner(small.model(norm), dataclasses.replace(CONFIG, optim=optim))
    learner.update(small.batch())  # Adam has a state
    before, batch = everything(learner), small.batch(seed=1)
    values = getattr(batch, field).clone()
    values[3] = number
    _, error = learner.update(dataclasses.replace(batch, **{field: values}))
    after = everything(learner)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (learner.updates, learner.skipped) == (2, 1)
    assert learner.guilty is not None
    assert learner.guilty.tolist() == [False, False, False, True, False, False]
    assert field in learner.reason
    assert "walk 1 of 6" in learner.reason
    learner.update(batch)
    assert (learner.skipped, learner.guilty) == (0, None)
    assert not torch.equal(everything(learner)["model.encoder.0.0.weight"],
                           before["model.encoder.0.0.weight"])  # fmt: skip
    assert len(error) == 6


def test_a_network_that_is_broken_blames_no_sample(small):
    learner = Learner(small.model(), CONFIG)
    with torch.no_grad():
        learner.model.value_head.last.bias.fill_(float("nan"))
    learner.update(small.batch())
    assert learner.guilty is not None
    assert not learner.guilty.any()
    assert "none here" in learner.reason


def test_data_are_blamed_before_losses_and_all_are_never():
    def flags(*rows):
        return torch.tensor([row == 1 for row in rows])

    assert faults.guilty(flags(0, 1, 0), flags(1, 1, 1)).tolist() == [False, True, False]
    assert faults.guilty(flags(0, 0, 0), flags(0, 1, 1)).tolist() == [False, True, True]
    assert not faults.guilty(flags(0, 0, 0), flags(1, 1, 1)).any()
    assert not faults.guilty(flags(1, 1, 1), flags(1, 1, 1)).any()
