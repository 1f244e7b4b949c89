"""Demonstrations: the file, the batches, and a run that starts from them."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from runtime import h1
from training import demonstrate, demonstrator, demos
from training.cli import ConfigError
from training.features import SIZE
from training.presets import load_config
from training.replay import Batch
from training.trainer import Trainer

TINY = [
    "preset=debug", "tasks=[stand,walk]", "collect.observation=body", "replay.mirrored=true",
    "imitation.pretrain=20",
]  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Real episodes of the home pose: it falls, so there are ends of both kinds."""
    path = tmp_path_factory.mktemp("demos") / "demos.safetensors"
    words = [f"out={path}", "policy=home", "action_map=stance", "tasks=[stand,walk]", "rows=2",
             "steps=130", "episode_steps=100"]  # fmt: skip
    assert run_door(demonstrate, words) == 0
    return path


def run_door(module, words):
    import sys
    from unittest import mock

    with mock.patch.object(sys, "argv", [module.__name__, *words]):
        return module.main()


def config(file, out, *words):
    return load_config([*TINY, f"demos={file}", f"out={out}", *words])


def test_recorded_rewards_belong_to_recorded_frames(file):
    """Replaying the actions of an episode in a fresh environment gives its rewards again."""
    from training.h1_env import H1Env

    parts = demos.read(file, ("stand",), "stance")["stand"]
    env = H1Env(["stand"] * 2, seed=0, action_map="stance", delay_substeps=(0, 2))
    first = env.reset()  # the constructor has reset once before, as in the recording
    end = int(np.flatnonzero(parts["last"])[0])
    np.testing.assert_array_equal(parts["observation"][0], first[0])
    for frame in range(end):
        step = env.step(np.stack([parts["action"][frame]] * 2))
        np.testing.assert_allclose(parts["reward"][frame], step.reward[0], rtol=1e-6)
        np.testing.assert_array_equal(parts["observation"][frame + 1], step.obs[0])
    env.close()


def test_labels_are_free_of_the_noise_that_was_executed(file):
    parts = demos.read(file, ("walk",), "stance")["walk"]
    acts = ~parts["last"]
    assert len(np.unique(parts["label"][acts], axis=0)) == 1  # the home pose is one action
    assert parts["action"][acts].std(axis=0).min() > 0.01


def test_another_action_map_a_missing_task_and_another_file_are_refused(file, tmp_path):
    with pytest.raises(ConfigError, match=r"action_map='stance'.*'home'"):
        demos.read(file, ("walk",), "home")
    with pytest.raises(ConfigError, match=r"no episodes of \['run'\].*stand.*walk"):
        demos.read(file, ("run",), "stance")
    with pytest.raises(ConfigError, match="demos="):
        demos.read(tmp_path / "none.safetensors", ("run",), "stance")


def test_episodes_of_several_files_are_joined(file, tmp_path):
    shown = demos.read(file, ("stand", "walk"), "stance")
    demos.write(tmp_path / "stand", {"stand": shown["walk"]}, {"action_map": "stance"})
    both = demos.read(f"{tmp_path / 'stand'},{file}", ("stand", "walk"), "stance")
    rewards = [shown[task]["reward"] for task in ("walk", "stand")]
    np.testing.assert_array_equal(both["stand"]["reward"], np.concatenate(rewards))
    np.testing.assert_array_equal(both["walk"]["reward"], rewards[0])


def frames(count=6, width=51):
    """Return two episodes' frames by hand, the second one terminal."""
    parts = {
        "observation": np.ones((count, width), np.float32),
        "action": np.full((count, 19), 0.5, np.float32),
        "label": np.full((count, 19), 0.5, np.float32),
        "reward": np.ones(count, np.float32),
        "last": np.isin(np.arange(count), (2, count - 1)),
        "terminal": np.arange(count) == count - 1,
    }
    return parts


def at(frame, value):
    def put(array):
        array = array.copy()
        array[frame] = value
        return array

    return put


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("label", lambda a: a[:, :18], r"walk/label has 18 numbers, expected 19"),
        ("action", lambda a: a[:, :18], r"walk/action has 18 numbers, expected 19"),
        ("observation", lambda a: a[:, :50], r"walk/observation has 50 numbers, expected 51"),
        ("reward", lambda a: a[:5], r"walk/reward has 5 frames, action has 6"),
        ("reward", lambda a: a[:, None], r"walk/reward has shape \(6, 1\) of float32, expected \["),
        ("reward", at(3, np.nan), r"walk/reward is not finite, first at frame 3"),
        ("observation", at(4, np.inf), r"walk/observation is not finite, first at frame 4"),
        ("label", at(1, 1.01), r"walk/label is beyond -1 to 1 \(1\.01\), first at frame 1"),
        ("action", at(1, -2.0), r"walk/action is beyond -1 to 1 \(2\), first at frame 1"),
        ("last", at(5, False), r"walk/last: the last frame of all ends no episode"),
        ("last", lambda a: a | True, r"walk has 6 frames, and none with an action"),
        ("terminal", at(3, True), r"walk/terminal is true at frame 3, where `last` is not"),
    ],
)
def test_a_wrong_part_of_a_file_is_named_with_what_was_expected(tmp_path, name, change, said):
    parts = frames()
    demos.write(tmp_path / "d", {"walk": parts}, {"action_map": "home"})
    demos.read(tmp_path / "d", ("walk",), "home")
    demos.write(
        tmp_path / "d", {"walk": parts | {name: change(parts[name])}}, {"action_map": "home"}
    )
    with pytest.raises(ConfigError, match=said):
        demos.read(tmp_path / "d", ("walk",), "home")


@pytest.mark.parametrize("name", demos.FIELDS)
def test_a_missing_part_of_a_file_is_named(tmp_path, name):
    from safetensors.numpy import save_file

    arrays = {f"walk/{n}": array for n, array in frames().items() if n != name}
    facts = {"format": demos.FORMAT, "action_map": "home"}  # as older files have them
    save_file(arrays, tmp_path / "d", metadata=facts)
    with pytest.raises(ConfigError, match=f"walk has no {name}; there are"):
        demos.read(tmp_path / "d", ("walk",), "home")


def test_what_a_file_says_of_itself_is_compared_with_what_it_holds(tmp_path):
    for fact, said in (("robot", "robot='h1hand', but"), ("observation_size", "=h1hand, but")):
        demos.write(tmp_path / "d", {"walk": frames()}, {"action_map": "home", fact: "h1hand"})
        with pytest.raises(ConfigError, match=said):
            demos.read(tmp_path / "d", ("walk",), "home")


def test_observations_of_other_widths_are_padded_or_refused(tmp_path):
    facts = {"action_map": "stance"}
    demos.write(tmp_path / "a", {"walk": frames()}, facts)
    demos.write(tmp_path / "b", {"walk": frames(width=60)}, facts)
    both = f"{tmp_path / 'a'},{tmp_path / 'b'}"
    seen = demos.read(both, ("walk",), "stance")["walk"]["observation"]
    np.testing.assert_array_equal(seen[:6, 51:], 0.0)
    np.testing.assert_array_equal(seen[6:], 1.0)
    words = ["tasks=[walk]", "collect.observation=benchmark"]
    with pytest.raises(ConfigError, match=r"walk has observations .* \(60, 19\) .* \(51, 19\)"):
        Trainer(config(both, tmp_path / "run", *words))


def test_a_driver_acts_where_the_policy_only_says_what_it_would_do(tmp_path):
    out = tmp_path / "driven.safetensors"
    words = [f"out={out}", "policy=home", "driver=random", "action_map=stance", "tasks=[stand]",
             "rows=2", "steps=30", "noise=[1e-9,1e-9]"]  # fmt: skip
    assert run_door(demonstrate, words) == 0
    parts = demos.read(out, ("stand",), "stance")["stand"]
    goes = ~parts["last"]
    home = np.clip(h1.action_map("stance").action(h1.DEFAULT_POSE), -1, 1)
    np.testing.assert_allclose(parts["label"][goes], np.tile(home, (60, 1)), atol=1e-6)
    assert parts["action"][goes].std(axis=0).min() > 0.2  # uniform: 0.58


def test_a_driver_whose_actions_mean_something_else_is_refused(tmp_path, capsys):
    words = [f"out={tmp_path / 'x'}", "policy=models/h1/teacher.safetensors", "driver=home",
             "tasks=[stand]", "rows=1", "steps=2"]  # fmt: skip
    assert run_door(demonstrate, words) == 2
    assert "action_map='benchmark'" in capsys.readouterr().err


def test_windows_come_from_single_episodes_in_order(file):
    shown = demos.Demonstrations(config(file, "unused"), window=7)
    batch = shown.sample(200, np.random.default_rng(0))
    parts = demos.read(file, ("stand", "walk"), "stance")
    assert batch.observation.shape == (200, 8, SIZE)
    assert batch.demo.all()
    ends = {task: set(np.flatnonzero(parts[name]["last"])) for task, name in
            enumerate(("stand", "walk"))}  # fmt: skip
    for row in range(200):
        column, task = int(batch.place[2][row]), int(batch.task[row])
        assert column not in ends[task]
        inside = [at - column for at in ends[task] if 0 <= at - column <= 7]
        assert batch.final[row] == (min(inside) if inside else 7)
        assert batch.alive[row].sum() == batch.final[row] + 1


def test_joined_batches_keep_every_field(file):
    shown = demos.Demonstrations(config(file, "unused"), window=7)
    one, two = (shown.sample(8, np.random.default_rng(seed)) for seed in (0, 1))
    both = demos.join(one, two)
    for item in dataclasses.fields(Batch):
        if item.name != "place":
            np.testing.assert_array_equal(
                getattr(both, item.name),
                np.concatenate([getattr(one, item.name), getattr(two, item.name)]),
            )
    assert len(both.place[2]) == 16


def test_mirrored_batches_turn_what_is_seen_and_done_together(file):
    shown = demos.Demonstrations(config(file, "unused"), window=7)
    batch = shown.sample(64, np.random.default_rng(0))
    turned = demos.mirrored(batch, "body", np.random.default_rng(0))
    assert 10 < turned.flipped.sum() < 54
    same = ~turned.flipped
    np.testing.assert_array_equal(turned.observation[same], batch.observation[same])
    again = demos.mirrored(turned, "body", np.random.default_rng(0))  # the same rows again
    np.testing.assert_array_equal(again.observation, batch.observation)
    np.testing.assert_array_equal(again.action, batch.action)
    np.testing.assert_array_equal(again.stored_action, batch.stored_action)
    assert not np.array_equal(turned.observation, batch.observation)


def test_a_run_imitates_first_then_acts_and_keeps_a_share(file, tmp_path):
    trainer = Trainer(config(file, tmp_path / "run"))
    rng = np.random.default_rng(0)
    assert trainer.batches.sample(0, rng).demo.all()
    trainer.run()
    assert trainer.learner.updates == 40
    assert trainer.steps > 0
    share = trainer.batches.sample(40, rng).demo.mean()
    assert 0.2 < share < 0.35  # share_end=0.25
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").open()]
    pretraining = [row for row in rows if row.get("updates", 0) <= 20 and "steps" in row]
    assert pretraining
    assert all(row["steps"] == 0 for row in pretraining)


def test_cloning_brings_the_policy_to_the_demonstrator(file, tmp_path):
    """The home pose is one action: after pre-training alone the policy mean is near it."""
    words = ("imitation.pretrain=150", "updates=150", "segment=150", "evaluate_every=150",
             "optim.lr=3e-3", "loss.policy=1.0")  # fmt: skip
    settings = config(file, tmp_path / "run", *words)
    parts = demos.read(file, ("stand",), "stance")["stand"]
    trainer = Trainer(settings)
    from training.agent import Agent

    def error():
        agent = Agent(trainer.learner.model, settings, {})
        mean = agent.policy_mean(parts["observation"][:50], np.zeros(50, int))
        trainer.learner.model.train().requires_grad_(True)
        return np.abs(mean - parts["label"][:50]).mean()

    before = error()
    while trainer.learner.updates < 150:
        trainer._run_segment(150)
    assert error() < 0.3 * before


def test_a_run_with_demonstrations_resumes_to_the_same_weights(file, tmp_path):
    from safetensors.torch import load_file

    base = ("segment=10", "evaluate_every=40", "optim.drop_at=1.0")
    for out in ("one", "two"):
        settings = config(file, tmp_path / out, *base)
        if out == "two":  # interrupted after two segments
            trainer = Trainer(settings)
            for _ in range(2):
                trainer._run_segment(trainer.learner.updates + 10)
                trainer.segment += 1
                trainer._save()
        Trainer(settings).run()
    ours, theirs = (
        load_file(tmp_path / out / "checkpoints/00000040/agent.safetensors")
        for out in ("one", "two")
    )
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=0)


def test_a_folder_that_has_grown_is_said_when_a_run_is_taken_up(file, tmp_path, capsys):
    folder = tmp_path / "shown"
    folder.mkdir()
    shutil.copy(file, folder / "a.safetensors")
    settings = config(folder, tmp_path / "run", "segment=10", "evaluate_every=40")
    run = Trainer(settings)
    run._run_segment(10)
    run._save()
    Trainer(settings)
    assert "there before" not in capsys.readouterr().out
    shutil.copy(file, folder / "b.safetensors")
    Trainer(settings)
    said = f"demos={folder}: 2 files now, 1 when it was saved, 1 of them the same"
    assert said in capsys.readouterr().out
    (folder / "a.safetensors").unlink()
    Trainer(settings)
    assert "1 files now, 1 when it was saved, 0 of them the same" in capsys.readouterr().out


def test_a_trained_run_that_is_taken_up_without_demonstrations_does_not_act_at_random(
    file, tmp_path, monkeypatch
):
    base = ("segment=10", "evaluate_every=100000", "update_ratio=10.0")
    run = Trainer(config(file, tmp_path / "run", *base))
    run._run_segment(30)
    run._save()
    later = config(file, tmp_path / "run", *base, "updates=60", "collect.random_steps=500")
    later = dataclasses.replace(later, demos="")
    again = Trainer(later)
    assert again.pace.random  # by its steps alone
    seen = []
    monkeypatch.setattr(again, "_collect", lambda random: (seen.append(random), again.pace.step()))
    monkeypatch.setattr(again, "_learn", lambda: setattr(again.learner, "updates", 60))
    again._run_segment(60)
    assert seen and not any(seen)


def test_gentleness_begins_at_its_update(tmp_path, monkeypatch):
    """From then on: randomised robots, the cost, the smoothness; before, none of them."""
    from training import demonstrator_run

    seen = []
    update, make = demonstrator_run.Sac.update, demonstrator_run.H1Env

    def watched(self, batch, generator, smooth):
        seen.append((self.updates, smooth))
        return update(self, batch, generator, smooth)

    different = []
    monkeypatch.setattr(demonstrator_run.Sac, "update", watched)

    def recorded(*arguments, randomize, **others):
        different.append(randomize)
        return make(*arguments, randomize=randomize, **others)

    monkeypatch.setattr(demonstrator_run, "H1Env", recorded)
    words = [*SAC, "preset=h1_gentle", "gentle_after=30", f"out={tmp_path}"]
    assert run_door(demonstrator, words) == 0
    assert all(smooth == (0.2 if at >= 30 else 0.0) for at, smooth in seen)
    assert [entry is None for entry in different] == [True, False]


def test_every_task_is_shown_by_the_checkpoint_that_was_best_at_it(tmp_path, capsys):
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "run"
    assert run_door(demonstrator, [*SAC, "updates=30", f"out={folder}"]) == 0
    path = folder / "actor_0000030.safetensors"
    with safe_open(path, framework="pt") as opened:
        facts = opened.metadata()
    for number, returns in ((30, {"stand": 9.0, "walk": 1.0}), (60, {"stand": 2.0, "walk": 3.0})):
        told = {**facts, "returns": json.dumps(returns), "updates": str(number)}
        save_file(load_file(path), folder / f"actor_{number:07d}.safetensors", metadata=told)
    assert demonstrator.best_checkpoint(folder, "stand").name == "actor_0000030.safetensors"
    later = demonstrator.best_checkpoint(folder, "stand", since=60)
    assert later.name == "actor_0000060.safetensors"
    earlier = demonstrator.best_checkpoint(folder, "walk", until=30)
    assert earlier.name == "actor_0000030.safetensors"
    with pytest.raises(ConfigError, match=r"holds no actor_.* from 40 to 50 updates"):
        demonstrator.best_checkpoint(folder, "walk", since=40, until=50)
    out = tmp_path / "demos.safetensors"
    words = [f"policy={folder}", "tasks=[stand,walk]", "rows=1", "steps=5", f"out={out}"]
    assert run_door(demonstrate, words) == 0
    with safe_open(out, framework="np") as opened:
        said = opened.metadata()["policy"]
    assert said == "stand: actor_0000030.safetensors walk: actor_0000060.safetensors"
    capsys.readouterr()
    assert run_door(demonstrate, [*words, "tasks=[run]"]) == 2
    assert "no checkpoint" in capsys.readouterr().err


SAC = ["tasks=[stand,walk]", "envs_per_task=2", "random_steps=200", "evaluate_every=30",
       "evaluate_episodes=1", "updates=60", "log_every=10", "batch=32", "sac.width=16",
       "capacity=2000"]  # fmt: skip


def test_the_demonstrator_resumes_to_the_same_weights(tmp_path):
    from safetensors.torch import load_file

    assert run_door(demonstrator, [*SAC, f"out={tmp_path / 'one'}"]) == 0
    assert run_door(demonstrator, [*SAC, "updates=30", f"out={tmp_path / 'two'}"]) == 0
    assert run_door(demonstrator, [*SAC, f"out={tmp_path / 'two'}"]) == 0
    one, two = (load_file(tmp_path / out / "resume.safetensors") for out in ("one", "two"))
    assert set(one) == set(two)
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, two[name], rtol=0, atol=0)


def test_the_demonstrators_best_weights_can_be_scored_and_recorded(tmp_path):
    from training.contenders import contenders

    assert run_door(demonstrator, [*SAC, "updates=30", f"out={tmp_path}"]) == 0
    (who,) = contenders(str(tmp_path / "best.safetensors"))
    assert (who.name, who.action_map, who.tasks) == ("demonstrator", "stance", ("stand", "walk"))
    observation = np.zeros((3, 51), np.float32)
    observation[:, 3] = 1.0
    act = who.begin(("walk",), 0)
    np.testing.assert_array_equal(act(observation, np.zeros(3, int)).shape, (3, 19))


def test_tasks_of_different_scenes_cannot_share_experience(capsys):
    assert run_door(demonstrator, ["tasks=[walk,hurdle]"]) == 2
    assert "different scenes" in capsys.readouterr().err
