"""The doors of demonstrator and recording refuse in one sentence, and resume only what fits."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from training import demonstrate, demonstrator, demonstrator_run
from training.lock import alone

SAC = ["tasks=[stand,walk]", "envs_per_task=2", "random_steps=40", "evaluate_every=8",
       "evaluate_episodes=1", "updates=8", "log_every=2", "batch=8", "sac.width=8",
       "capacity=2000"]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run of a few updates."""
    from unittest import mock

    folder = tmp_path_factory.mktemp("demonstrator") / "run"
    with mock.patch("sys.argv", ["demonstrator.py", *SAC, f"out={folder}"]):
        assert demonstrator.main() == 0
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """A copy of it that a test may break."""
    return shutil.copytree(trained, tmp_path / "run")


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("tasks=[jump]", "no task 'jump'; there are stand, walk"),
        ("tasks=[]", "tasks=[]: expected one task at least"),
        ("tasks=[stand,stand]", "['stand'] come twice"),
        ("action_map=foo", "action_map='foo'; there are benchmark, home, stance"),
        ("updates=0", "updates=0: expected at least 1"),
        ("update_ratio=0", "update_ratio=0.0: expected above 0"),
        ("update_ratio=nan", "update_ratio=nan: expected finite numbers"),
        ("envs_per_task=0", "envs_per_task=0: expected at least 1"),
        ("evaluate_every=0", "evaluate_every=0: expected at least 1"),
        ("log_every=0", "log_every=0: expected at least 1"),
        ("log_every=1", "log_every=1: expected sac.actor_every=2 at least"),
        ("seed=-1", "seed=-1: expected at least 0"),
        ("episode_steps=[]", "episode_steps=[]: expected one number"),
        ("capacity=8", "capacity=8 is 2 transitions for each of 4 rows; expected 5"),
        ("sac.actor_lr=nan", "sac.actor_lr=nan: expected finite numbers"),
        ("delay_substeps=[4,2]", "expected [low, high] with low <= high"),
        ("power_share=[1,1,1]", "3 prices of power for 2 tasks"),
        ("out=/proc/x", "out=/proc/x: expected a folder that can be made"),
    ],
)
def test_a_demonstrator_that_cannot_be_is_refused(word, sentence, tmp_path, call_door):
    status, _, errors = call_door(demonstrator.main, *SAC, f"out={tmp_path / 'x'}", word)
    assert status == 2
    assert sentence in errors and len(errors.splitlines()) == 1
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["action_map=home"], "action_map is stance there, home here"),
        (["tasks=[stand,run]"], "tasks is ['stand', 'walk'] there, ['stand', 'run'] here"),
        (["tasks=[stand]"], "tasks is ['stand', 'walk'] there, ['stand'] here"),
        (["envs_per_task=3"], "envs_per_task is 2 there, 3 here"),
        (["sac.width=16"], "sac.width is 8 there, 16 here"),
    ],
)
def test_what_does_not_fit_a_saved_run_is_refused_and_leaves_it_alone(
    words, sentence, run, call_door
):
    before = (run / "resume.safetensors").read_bytes()
    status, _, errors = call_door(demonstrator.main, *SAC, f"out={run}", *words)
    assert status == 2
    assert sentence in errors and "another out=" in errors
    assert (run / "resume.safetensors").read_bytes() == before


def test_another_preset_and_more_updates_go_on_in_the_same_folder(run, call_door):
    status, output, _ = call_door(
        demonstrator.main, *SAC, f"out={run}", "updates=16", "preset=h1_gentle", "seed=1"
    )
    assert status == 0
    assert "at 8 updates" in output and (run / "actor_0000016.safetensors").is_file()


@pytest.mark.parametrize("name", ["resume.safetensors", "replay.safetensors", "state.json"])
def test_a_truncated_file_is_a_sentence(name, run, call_door):
    whole = (run / name).read_bytes()
    (run / name).write_bytes(whole[: len(whole) // 2])
    status, _, errors = call_door(demonstrator.main, *SAC, f"out={run}")
    assert status == 2
    assert f"cannot resume {run}" in errors and len(errors.splitlines()) == 1


def test_a_resume_file_that_is_gone_is_a_sentence(run, call_door):
    (run / "resume.safetensors").unlink()
    status, _, errors = call_door(demonstrator.main, *SAC, f"out={run}")
    assert status == 2
    assert f"cannot resume {run}" in errors


def test_a_full_disk_ends_with_code_1_and_gives_its_room_back(run, call_door, monkeypatch):
    def full(tensors, path, metadata=None):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(demonstrator_run, "save_file", full)
    before = (run / "resume.safetensors").read_bytes()
    status, _, errors = call_door(demonstrator.main, *SAC, f"out={run}", "updates=16")
    assert status == 1
    assert "No space left on device; the last save is as it was" in errors
    assert not [*run.glob("*.new"), *run.glob("*.part")]
    assert (run / "resume.safetensors").read_bytes() == before


def test_control_c_ends_with_130(tmp_path, call_door, monkeypatch):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(demonstrator_run.Demonstrator, "run", interrupted)
    status, _, errors = call_door(demonstrator.main, *SAC, f"out={tmp_path}")
    assert status == 130
    assert "the same command resumes" in errors


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("tasks=[jump]", "no task 'jump'; there are stand, walk"),
        ("tasks=[]", "tasks=[]: expected one task at least"),
        ("tasks=[stand,stand]", "['stand'] come twice"),
        ("before=[jump]", "no task 'jump'"),
        ("rows=0", "rows=0: expected at least 1"),
        ("steps=0", "steps=0: expected at least 1"),
        ("episode_steps=0", "episode_steps=0: expected at least 1"),
        ("noise=[0,1]", "noise=[0.0, 1.0]: expected above 0"),
        ("seed=-1", "seed=-1: expected at least 0"),
        ("action_map=foo", "action_map='foo'; there are benchmark, home, stance"),
        ("delay_substeps=[0,11]", "delay_substeps=[0, 11]: expected at least 0 and at most 10"),
        ("policy=nowhere", "no checkpoint at nowhere"),
        ("out=/proc/x/y.safetensors", "out=/proc/x: expected a folder"),
    ],
)
def test_a_recording_that_cannot_be_is_refused(word, sentence, tmp_path, call_door):
    out = tmp_path / "demos.safetensors"
    words = ["policy=home", "tasks=[stand]", "rows=1", "steps=2", f"out={out}"]
    status, _, errors = call_door(demonstrate.main, *words, word)
    assert status == 2
    assert sentence in errors and len(errors.splitlines()) == 1
    assert not out.exists()


def test_the_folder_of_a_recording_is_made_before_anything_is_recorded(
    tmp_path, call_door, monkeypatch
):
    out, record = tmp_path / "new" / "demos.safetensors", demonstrate.record

    def watched(*arguments):
        assert out.parent.is_dir()
        return record(*arguments)

    monkeypatch.setattr(demonstrate, "record", watched)
    words = ["policy=home", "tasks=[stand]", "rows=1", "steps=2", f"out={out}"]
    status, output, _ = call_door(demonstrate.main, *words)
    assert status == 0 and out.is_file()
    assert json.loads(output.splitlines()[-1])["stand"]["transitions"] == 2
    status, _, errors = call_door(demonstrate.main, *words[:-1], f"out={tmp_path}")
    assert status == 2 and "is a folder" in errors


@pytest.mark.parametrize("name", ["run", "evaluate", "demonstrator", "demonstrate", "study"])
def test_control_c_while_a_door_loads_ends_with_130_and_one_line(name, tmp_path):
    (tmp_path / "numpy.py").write_text("raise KeyboardInterrupt")
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, f"training/{name}.py", "--help"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"},
        cwd=root, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 130
    assert done.stderr.startswith("interrupted") and len(done.stderr.splitlines()) == 1


def test_a_folder_where_another_process_trains_is_refused(run, call_door):
    before = {file.name: file.read_bytes() for file in run.iterdir()}
    with alone(run):
        code, _, errors = call_door(demonstrator.main, *SAC, f"out={run}")
    assert (code, errors.count("\n")) == (2, 1)
    assert f"out={run}: another process trains there" in errors
    assert {file.name: file.read_bytes() for file in run.iterdir()} == before
    assert call_door(demonstrator.main, *SAC, f"out={run}")[0] == 0
