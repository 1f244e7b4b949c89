"""Checkpoints are complete or not there, and say what is wrong with what was given."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from training import checkpoint
from training.agent import Agent, build_model
from training.checkpoint import (
    CheckpointError,
    find_agent,
    load_agent,
    load_run,
    save_agent,
    save_run,
)
from training.learner import Learner
from training.presets import PRESETS
from training.replay import Replay
from training.run_folder import note_evaluation, resumable
from training.trainer import Trainer

CONFIG = PRESETS["debug"]
ROOT = Path(__file__).parents[2]


def fresh(updates=0):
    torch.manual_seed(updates)
    learner = Learner(build_model(CONFIG), CONFIG)
    learner.updates = updates
    replay = Replay(2, 2, 51, 19, 7, CONFIG.replay)
    for _ in range(12):
        for buffer in replay.buffers:
            buffer.add(np.ones((2, 51)), np.zeros((2, 19)), np.zeros(2))
    return learner, replay


@pytest.fixture
def run(tmp_path):
    """Return a run folder with checkpoints of updates 20 and 40."""
    for updates in (20, 40):
        learner, replay = fresh(updates)
        save_run(tmp_path, learner, replay, {"updates": updates, "steps": 7})
    return tmp_path


def test_run_folder_checkpoint_folder_and_file_mean_the_same_agent(run):
    paths = [
        run,
        run / "checkpoints" / "00000040",
        run / "checkpoints" / "00000040" / "agent.safetensors",
        run / "checkpoints" / "latest",
        run / "latest",
    ]
    states = [load_agent(path)[0] for path in paths]
    expected = fresh(40)[0].average.state_dict()
    for state in states:
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_the_best_is_the_checkpoint_whose_evaluation_was_worth_most(run):
    with pytest.raises(CheckpointError, match=r"knows no best checkpoint: .*evaluate_every"):
        load_agent(run / "best")
    assert note_evaluation(run, 20, 0.5, {"stand": 400.0})
    assert not note_evaluation(run, 40, 0.4, {"stand": 320.0})
    for path in (run / "best", run / "checkpoints" / "best"):
        assert find_agent(path) == run / "checkpoints" / "00000020" / "agent.safetensors"
    assert note_evaluation(run, 40, 0.6, {"stand": 480.0})
    assert find_agent(run / "best").parent.name == "00000040"
    (run / "checkpoints" / "00000040" / "agent.safetensors").unlink()
    with pytest.raises(CheckpointError, match="knows no best checkpoint"):
        find_agent(run / "best")


def test_an_older_checkpoint_still_acts_but_only_the_newest_can_resume(run):
    older = run / "checkpoints" / "00000020"
    expected = fresh(20)[0].average.state_dict()
    weights, _, _ = load_agent(older)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert sorted(p.name for p in older.iterdir()) == ["agent.safetensors", "state.json"]
    with pytest.raises(CheckpointError, match=r"it holds \['agent.safetensors', 'state.json'\]"):
        load_run(older, *fresh())


def test_configuration_and_facts_travel_inside_the_weights(run):
    _, config, facts = load_agent(run)
    assert config == CONFIG
    assert facts["updates"] == "40"
    with safe_open(run / "checkpoints/00000040/agent.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["config"])["preset"] == "debug"


def test_an_agent_file_alone_is_enough_to_plan(run, tmp_path):
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes((run / "checkpoints/00000040/agent.safetensors").read_bytes())
    agent = Agent.load(alone)
    plan = agent.plan(np.zeros((2, 51)), np.array([0, 1]))
    assert plan.action.shape == (2, 19)
    assert agent.tasks == CONFIG.tasks


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_agent_file_is_refused_with_a_sentence(run, share):
    file = run / "checkpoints" / "00000040" / "agent.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match="not a complete safetensors file"):
        load_agent(run)


@pytest.mark.parametrize(
    "name", ["learner.safetensors", "replay.safetensors", "agent.safetensors", "state.json"]
)
def test_resuming_from_a_truncated_file_is_refused_with_a_sentence(run, name):
    file = run / "checkpoints" / "00000040" / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=r"cannot resume from .*00000040.*it holds"):
        load_run(file.parent, *fresh())


def test_resuming_with_another_model_is_refused_with_the_remedy(run):
    import dataclasses

    wide = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, width=48))
    said = r"model\.width is 32 there, 48 here \(training with .* another out="
    with pytest.raises(CheckpointError, match=said):
        load_run(run / "checkpoints/00000040", Learner(build_model(wide), wide), fresh()[1])


def test_starting_from_weights_of_another_architecture_names_the_keys_that_differ(run):
    import dataclasses

    model = dataclasses.replace(CONFIG.model, latent=48, value_heads=3)
    other = dataclasses.replace(CONFIG, model=model, tasks=("stand", "walk", "run"), seed=7)
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load_weights(run, Learner(build_model(other), other))
    said = str(caught.value)
    for part in ("init=", "model.latent is 32 there, 48 here", "model.value_heads is 5 there, 3",
                 "tasks is [stand,walk] there, [stand,walk,run] here"):  # fmt: skip
        assert part in said
    assert "seed" not in said  # what changes no shape is not to blame


def test_a_file_without_our_configuration_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="carries no ezm configuration"):
        load_agent(tmp_path / "other.safetensors")


def test_a_missing_checkpoint_says_what_is_there(tmp_path):
    (tmp_path / "h1_small").mkdir()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(
        CheckpointError, match=r"no checkpoint at .*holds \['h1_small', 'notes.txt'\]"
    ):
        load_agent(tmp_path / "h1_smal")
    with pytest.raises(CheckpointError, match="holds nothing"):
        load_agent(tmp_path / "h1_small")


def test_weights_that_do_not_fit_their_configuration_are_refused(tmp_path):
    weights = build_model(CONFIG).state_dict()
    weights.pop("obs_norm.mean")
    save_agent(tmp_path / "a.safetensors", weights, CONFIG, {})
    with pytest.raises(CheckpointError, match="do not fit its configuration"):
        Agent.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize("step", ["save_agent", "save_file", "Replay.save", "write_text"])
def test_an_interrupted_save_leaves_the_previous_checkpoint_in_force(run, monkeypatch, step):
    def break_off(*_, **__):
        raise OSError("no space left on device")

    owner, name = (Replay, "save") if step == "Replay.save" else (checkpoint, step)
    learner, replay = fresh(60)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, break_off)
        with pytest.raises(OSError, match="no space"):
            save_run(run, learner, replay, {"updates": 60, "steps": 9})
    assert checkpoint.latest(run) == run / "checkpoints" / "00000040"
    again, buffer = fresh()
    assert load_run(checkpoint.latest(run), again, buffer)["updates"] == 40
    save_run(run, learner, replay, {"updates": 60, "steps": 9})  # and the next attempt works
    assert checkpoint.latest(run) == run / "checkpoints" / "00000060"
    assert not list((run / "checkpoints").glob("*.part"))


FULL = """
import resource, sys
from pathlib import Path
from training.run import main
from training import checkpoint

save, limit = checkpoint.save_run, int(sys.argv.pop())

def on_a_full_disk(folder, learner, *rest):
    if learner.updates == 8:  # from here on no file can grow beyond this
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    return save(folder, learner, *rest)

checkpoint.save_run = on_a_full_disk
sys.exit(main())
"""


def test_a_disk_that_fills_while_saving_leaves_the_old_checkpoint_and_no_rubbish(tmp_path):
    """The operating system refuses the second file of the checkpoint; then there is room."""
    words = ["preset=debug", "updates=8", "segment=4", "evaluate_every=1000", "log_every=4",
             "update_ratio=0.1", f"out={tmp_path / 'run'}"]  # fmt: skip
    command = [sys.executable, "-c", FULL, *words]
    full = subprocess.run([*command, "700000"], capture_output=True, text=True, cwd=ROOT)
    assert full.returncode == 1
    assert "File too large" in full.stderr
    assert "the last checkpoint is as it was" in full.stderr
    assert "Traceback" not in full.stderr
    folder = tmp_path / "run" / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["00000004", "latest"]
    again = subprocess.run([*command, "100000000"], capture_output=True, text=True, cwd=ROOT)
    assert again.returncode == 0, again.stderr
    assert "at 4 updates" in again.stdout
    assert checkpoint.latest(tmp_path / "run") == folder / "00000008"


def test_a_pointer_to_a_vanished_checkpoint_is_no_checkpoint(run):
    (run / "checkpoints" / "latest").write_text("00000099")
    assert checkpoint.latest(run) is None


def test_optimiser_moments_and_counters_survive(run, toy, tmp_path):
    config = toy.tiny(tmp_path / "toy", updates=4, evaluate_every=4)
    trainer = Trainer(config, make_env=toy.Env, sizes=toy.sizes)
    trainer._evaluate = lambda: None
    trainer.run()
    learner = Learner(build_model(config, *toy.sizes), config)
    replay = Replay(3, 2, *toy.sizes, 7, config.replay)
    state = load_run(checkpoint.latest(tmp_path / "toy"), learner, replay)
    assert (state["updates"], state["steps"], state["segment"]) == (4, trainer.steps, 1)
    ours = learner.optimizer.state_dict()["state"]
    theirs = trainer.learner.optimizer.state_dict()["state"]
    assert ours.keys() == theirs.keys()
    for index in theirs:
        for key in ("step", "exp_avg", "exp_avg_sq"):
            assert torch.equal(torch.as_tensor(ours[index][key]), theirs[index][key])


def test_half_precision_keeps_a_long_run_s_observation_count(tmp_path):
    """A count beyond 65504 is infinite in float16, and training on from it was NaN."""
    model = build_model(CONFIG)
    model.obs_norm.count.fill_(1e7)
    save_agent(tmp_path / "a", checkpoint.half_precision(model.state_dict()), CONFIG, {})
    weights, _, _ = load_agent(tmp_path / "a")
    assert float(weights["obs_norm.count"]) == 1e7
    with safe_open(tmp_path / "a", framework="pt") as file:
        assert file.get_tensor("dynamics.inner.weight").dtype == torch.float16


def test_weights_that_are_not_finite_are_refused_by_name(tmp_path):
    model = build_model(CONFIG)
    model.obs_norm.var[0] = float("nan")
    save_agent(tmp_path / "a", model.state_dict(), CONFIG, {})
    with pytest.raises(CheckpointError, match=r"not finite.*obs_norm\.var"):
        load_agent(tmp_path / "a")


def other(**changes):
    """Return the debug configuration with `part__key` (or `key`) changed."""
    config = CONFIG
    for name, value in changes.items():
        part, _, key = name.rpartition("__")
        if part:
            key, value = part, dataclasses.replace(getattr(config, part), **{key: value})
        config = dataclasses.replace(config, **{key: value})
    return config


MEANINGS = [
    ({"tasks": ("run", "walk")}, "tasks is [stand,walk] there, [run,walk] here"),
    ({"seed": 3}, "seed is 0 there, 3 here"),
    ({"model__value_range": (0.0, 10.0)}, "model.value_range is"),
    ({"collect__action_map": "benchmark"}, "collect.action_map is"),
    ({"search__discount": 0.5}, "search.discount is"),
    ({"replay__capacity": 99_000}, "replay.capacity is"),
    ({"replay__priority_exponent": 0.3}, "replay.priority_exponent is"),
    ({"optim__decay": "adamw"}, "optim.decay is adam there, adamw here"),
    ({"schedule__kind": "learning_progress"}, "schedule.kind is"),
]


@pytest.mark.parametrize(("changed", "said"), MEANINGS)
def test_resuming_with_another_meaning_of_the_same_shapes_is_refused(run, changed, said):
    config = other(**changed)
    learner = Learner(build_model(config), config)
    before = {name: tensor.clone() for name, tensor in learner.model.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_run(run / "checkpoints/00000040", learner, fresh()[1])
    assert said in str(caught.value) and "another out=" in str(caught.value)
    after = learner.model.state_dict()
    assert learner.updates == 0 and all(torch.equal(before[n], after[n]) for n in before)


FREE = {"updates": 99, "optim__lr": 0.5, "loss__policy": 3.0, "proposals__wide": 1,
        "out": "elsewhere", "max_minutes": 5.0, "device": "cpu", "torch_threads": 2,
        "model__value_slope": 0.7}  # fmt: skip


def test_what_is_free_to_change_resumes_and_is_named(run):
    config = other(**FREE)
    learner = Learner(build_model(config), config)
    folder = run / "checkpoints/00000040"
    assert load_run(folder, learner, fresh()[1])["updates"] == 40
    named = set(checkpoint.freely_changed(folder, learner))
    assert named == {"updates", "optim.lr", "loss.policy", "proposals.wide", "torch_threads",
                     "model.value_slope"}  # fmt: skip


def rewrite_saved(folder, change):
    """Save the agent in `folder` again with `change` done to its saved configuration."""
    file = folder / "agent.safetensors"
    with safe_open(file, framework="pt") as handle:
        facts = handle.metadata()
    saved = json.loads(facts["config"])
    change(saved)
    save_file(load_file(file), file, metadata={**facts, "config": json.dumps(saved)})


def test_a_key_that_came_or_went_since_is_no_change_of_meaning(run):
    folder = run / "checkpoints/00000040"

    def older(saved):
        assert saved["seed"] == 0 and saved["replay"].pop("shared") is False
        saved.pop("seed")
        saved["model"]["since_removed"] = 7

    rewrite_saved(folder, older)
    assert load_run(folder, *fresh())["updates"] == 40
    config = other(seed=1)
    with pytest.raises(CheckpointError, match="seed is 0 there, 1 here"):
        load_run(folder, Learner(build_model(config), config), fresh()[1])


def test_the_meaning_of_weights_alone_counts_for_init(run):
    config = other(seed=3, search__discount=0.5, replay__capacity=99_000, optim__decay="adamw")
    checkpoint.load_weights(run, Learner(build_model(config), config))
    config = other(model__value_range=(0.0, 10.0), collect__action_map="benchmark", seed=3)
    with pytest.raises(CheckpointError, match=r"init=.*value_range is .*action_map is") as caught:
        checkpoint.load_weights(run, Learner(build_model(config), config))
    assert "seed" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "\0\0\0\0", "0000", None, "00000099"])
def test_without_its_pointer_a_run_goes_on_from_the_newest_complete_checkpoint(run, content):
    pointer = run / "checkpoints" / "latest"
    pointer.unlink()
    if content is not None:
        pointer.write_text(content)
    (run / "checkpoints" / "00000060").mkdir()
    (run / "checkpoints" / "00000060" / "state.json").touch()
    (run / "checkpoints" / "00000080.part").mkdir()
    assert resumable(run) == find_agent(run).parent == run / "checkpoints" / "00000040"


def test_the_pointer_is_in_force_while_it_names_a_checkpoint(run):
    assert resumable(run).name == "00000040"
    (run / "checkpoints" / "latest").write_text("00000020")
    assert resumable(run).name == "00000020"


def test_a_run_of_which_no_checkpoint_is_complete_is_refused_not_begun_anew(run, tmp_path):
    (run / "checkpoints" / "latest").write_text("")
    (run / "checkpoints" / "00000040" / "replay.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"none of .*00000020.*00000040.*another out="):
        resumable(run)
    assert resumable(tmp_path / "new") is None


@pytest.mark.parametrize(
    "name", ["learner.safetensors", "replay.safetensors", "agent.safetensors", "state.json"]
)
def test_a_damaged_checkpoint_names_the_file_and_blames_no_configuration(run, name):
    file = run / "checkpoints" / "00000040" / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=rf": {name} is damaged: ") as caught:
        load_run(file.parent, *fresh())
    assert "configuration" not in str(caught.value)


def test_everything_a_save_replaces_is_on_the_disk_before_it_is_named(run, monkeypatch):
    """The order in which the operating system is asked: contents, then names, then the pointer."""
    asked = []
    fsync, replace = os.fsync, os.replace

    def synced(handle):
        asked.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        fsync(handle)

    def replaced(source, target):
        asked.append(f"-> {Path(target).name}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    learner, replay = fresh(60)
    save_run(run, learner, replay, {"updates": 60, "steps": 9})
    named = asked.index("-> 00000060")
    files = {"agent.safetensors", "learner.safetensors", "replay.safetensors", "state.json"}
    assert files | {"00000060.part"} <= set(asked[:named])
    assert asked[named + 1 :] == ["checkpoints", "latest.part", "-> latest", "checkpoints"]
