"""Conversion of Gymnasium, D4RL and Minari data into what `demos=` reads."""

import json
import re
import sys
import types

import h5py
import numpy as np
import pytest
from safetensors import safe_open

from training import convert, demos
from training.presets import load_config
from training.trainer import Trainer

ENDS = [7, 12, 20]  # exclusive: episodes of 7, 5 and 8 steps; the second one ends in a fall


def flat(seed=0):
    """Return 20 steps in D4RL's form; `following` are their next observations."""
    rng = np.random.default_rng(seed)
    observations = rng.standard_normal((20, 51)).astype(np.float32)
    following = np.roll(observations, -1, axis=0)
    for end in ENDS:
        following[end - 1] = rng.standard_normal(51)
    terminals, timeouts = np.zeros(20, bool), np.zeros(20, bool)
    terminals[11] = timeouts[6] = timeouts[19] = True
    arrays = {
        "observations": observations, "actions": rng.uniform(-1, 1, (20, 19)).astype(np.float32),
        "rewards": rng.random(20), "terminals": terminals, "timeouts": timeouts,
    }  # fmt: skip
    return arrays, following


def save(path, arrays):
    np.savez(path, **arrays)
    return path


@pytest.fixture
def door(call_door, tmp_path):
    """Return `door(dataset, *words)`: exit status, its summary or None, its errors."""

    def call(dataset, *words):
        out = tmp_path / "out.safetensors"
        status, told, errors = call_door(convert.main, f"dataset={dataset}", f"out={out}", *words)
        return status, json.loads(told)["walk"] if told else None, errors

    return call


def read(tmp_path, task="walk", action_map="benchmark"):
    return demos.read(tmp_path / "out.safetensors", (task,), action_map)[task]


def test_frames_are_the_steps_and_every_episodes_last_observation(door, tmp_path):
    arrays, following = flat()
    file = save(tmp_path / "in.npz", arrays | {"next_observations": following})
    status, summary, _ = door(file, "task=walk", "action_map=home")
    assert status == 0
    assert summary == {
        "transitions": 20, "episodes": 3, "terminal": 1,
        "return": round(float(arrays["rewards"].sum()) / 3, 1),
    }  # fmt: skip
    parts = read(tmp_path, action_map="home")
    ends = np.array(ENDS) + np.arange(3)
    np.testing.assert_array_equal(np.flatnonzero(parts["last"]), ends)
    np.testing.assert_array_equal(np.flatnonzero(parts["terminal"]), ends[1:2])
    goes = ~parts["last"]
    for name, given in (("action", "actions"), ("label", "actions"), ("reward", "rewards")):
        np.testing.assert_array_equal(parts[name][goes], arrays[given].astype(np.float32))
        assert not parts[name][ends].any()
    np.testing.assert_array_equal(parts["observation"][goes], arrays["observations"])
    np.testing.assert_array_equal(parts["observation"][ends], following[np.array(ENDS) - 1])


def test_without_next_observations_nothing_is_made_up_but_what_a_terminal_state_looks_like(
    door, tmp_path
):
    arrays, _ = flat()
    status, summary, _ = door(save(tmp_path / "in.npz", arrays))
    assert (status, summary["transitions"], summary["terminal"]) == (0, 18, 1)
    parts = read(tmp_path)
    ends = np.flatnonzero(parts["last"])
    np.testing.assert_array_equal(ends, [6, 12, 20])
    np.testing.assert_array_equal(np.flatnonzero(parts["terminal"]), [12])
    seen = arrays["observations"]
    np.testing.assert_array_equal(parts["observation"][ends], seen[[6, 11, 19]])
    np.testing.assert_array_equal(parts["reward"][11], np.float32(arrays["rewards"][11]))


def test_new_names_and_one_episode_with_its_last_observation(door, tmp_path):
    arrays, following = flat()
    terminated = np.arange(20) == 19
    whole = {
        "observations": np.concatenate([arrays["observations"], following[-1:]]),
        "actions": arrays["actions"], "rewards": arrays["rewards"],
        "terminations": terminated, "truncations": terminated & False,
    }  # fmt: skip
    assert door(save(tmp_path / "in.npz", whole))[:2] == (
        0, {"transitions": 20, "episodes": 1, "terminal": 1,
            "return": round(float(arrays["rewards"].sum()), 1)},
    )  # fmt: skip
    np.testing.assert_array_equal(read(tmp_path)["observation"], whole["observations"])
    whole["truncations"] = np.arange(20) == 4
    status, _, errors = door(save(tmp_path / "in.npz", whole))
    assert status == 2
    assert "ends at step 4 already" in errors


def wrong(name, change):
    arrays, following = flat()
    arrays["next_observations"] = following
    arrays[name] = change(arrays[name])
    return arrays


def spoil(array):
    array = array.copy()
    array[5] = np.nan
    return array


def shift(array):
    return np.roll(array, 1, axis=0)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("observations", lambda a: a[:, :50], r"observations has 50 numbers each, expected 51"),
        ("actions", lambda a: a[:, :7], r"actions has 7 numbers each, expected 19"),
        ("actions", lambda a: 1.5 * a / np.abs(a).max(), r"actions reach 1\.5, expected -1 to 1"),
        ("rewards", lambda a: a[:-1], r"rewards has 19 entries, expected 20"),
        ("observations", lambda a: a[:-2], r"observations has 18 entries, expected 20"),
        ("rewards", spoil, r"rewards is not finite, first at 5"),
        ("observations", lambda a: 1e39 * a.astype(float), r"observations is not finite"),
        ("timeouts", lambda a: 2 * a.astype(int), r"timeouts holds other values than 0 and 1"),
        ("timeouts", lambda a: a & False, r"next_observations at 6 is not the observation that"),
        ("next_observations", shift, r"next_observations at 0 is not the observation that"),
        ("rewards", lambda a: a[:, None], r"rewards has shape \(20, 1\) of float64, expected 1"),
        ("rewards", lambda a: a.astype(str), r"rewards has shape \(20,\) of <U"),
    ],
)  # fmt: skip
def test_a_wrong_array_is_named_with_what_was_expected(door, tmp_path, name, change, said):
    status, _, errors = door(save(tmp_path / "in.npz", wrong(name, change)))
    assert status == 2
    assert re.search(said, errors), errors
    assert not (tmp_path / "out.safetensors").exists()


def test_missing_arrays_files_and_words_are_named(door, call_door, tmp_path):
    arrays, _ = flat()
    del arrays["timeouts"]
    assert "no truncations or timeouts; there are" in door(save(tmp_path / "in.npz", arrays))[2]
    assert "cannot be read" in door(tmp_path / "none.npz")[2]
    assert "cannot be read" in door(save(tmp_path / "o.npz", {"actions": np.array([{}])}))[2]
    assert "action_map='x'; there are benchmark" in door("a.npz", "action_map=x")[2]
    assert "task='wlak'; there are stand, walk" in door("a.npz", "task=wlak")[2]
    assert "dataset= is missing" in call_door(convert.main)[2]


def test_without_the_packages_a_sentence_says_how_to_get_them(door, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "minari", None)
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert "pip install 'minari[hdf5]'" in door("mujoco/walker-v0")[2]
    assert "pip install h5py" in door(tmp_path / "data.hdf5")[2]


class MinariSet:
    """Minari's classes by name: EpisodeData with T + 1 observations."""

    def __init__(self, found):
        self.found = str(found)

    def iterate_episodes(self):
        arrays, following = flat()
        for number, (start, end) in enumerate(zip([0, *ENDS], ENDS, strict=False)):
            seen = np.concatenate([arrays["observations"][start:end], following[end - 1 : end]])
            yield types.SimpleNamespace(
                id=number, observations={"state": seen} if "dict" in self.found else seen,
                actions=arrays["actions"][start:end], rewards=arrays["rewards"][start:end],
                terminations=arrays["terminals"][start:end],
                truncations=arrays["timeouts"][start:end],
            )  # fmt: skip


def test_minaris_episodes_become_the_same_frames_as_flat_arrays(door, tmp_path, monkeypatch):
    package = types.SimpleNamespace(MinariDataset=MinariSet, load_dataset=MinariSet)
    monkeypatch.setitem(sys.modules, "minari", package)
    arrays, following = flat()
    assert door(save(tmp_path / "in.npz", arrays | {"next_observations": following}))[0] == 0
    expected = read(tmp_path)
    (tmp_path / "folder" / "data").mkdir(parents=True)
    for dataset in ("h1/walk-v0", tmp_path / "folder"):
        assert door(dataset)[1]["transitions"] == 20
        for name, array in read(tmp_path).items():
            np.testing.assert_array_equal(array, expected[name])
    assert "episode 0: observations is a dict, expected an array" in door("h1/dict-v0")[2]


def test_an_hdf5_file_becomes_the_same_frames_as_the_arrays(door, tmp_path):
    """D4RL's layout, with groups beside it; and one that breaks off in the middle."""
    arrays, following = flat()
    arrays["next_observations"] = following
    assert door(save(tmp_path / "in.npz", arrays))[0] == 0
    expected = read(tmp_path)
    with h5py.File(tmp_path / "in.hdf5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
        file["infos/qpos"] = np.zeros((20, 26))
        file.attrs["made_by"] = "a test"
    assert door(tmp_path / "in.hdf5")[1]["transitions"] == 20
    for name, array in read(tmp_path).items():
        np.testing.assert_array_equal(array, expected[name])
    whole = (tmp_path / "in.hdf5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    status, _, errors = door(tmp_path / "cut.h5")
    assert (status, errors.count("\n")) == (2, 1)
    assert "cut.h5" in errors and "truncated" in errors


@pytest.fixture
def minari_set(tmp_path, monkeypatch):
    """Write a data set as the package Minari does; return the package's name of it."""
    pytest.importorskip("minari", reason="NOT TESTED HERE: no package minari (Python 3.11)")
    import gymnasium as gym
    import minari
    from minari.data_collector import EpisodeBuffer

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    arrays, following = flat()
    episodes = []
    for number, (start, end) in enumerate(zip([0, *ENDS], ENDS, strict=False)):
        seen = np.concatenate([arrays["observations"][start:end], following[end - 1 : end]])
        episodes.append(
            EpisodeBuffer(
                id=number, seed=number, options=None, observations=seen, infos={},
                actions=arrays["actions"][start:end], rewards=list(arrays["rewards"][start:end]),
                terminations=list(arrays["terminals"][start:end]),
                truncations=list(arrays["timeouts"][start:end]),
            )
        )  # fmt: skip
    box = gym.spaces.Box
    minari.create_dataset_from_buffers(
        "ezm/walk-v0", buffer=episodes, data_format="hdf5",
        observation_space=box(-np.inf, np.inf, (51,), np.float32),
        action_space=box(-1.0, 1.0, (19,), np.float32), algorithm_name="test", author="ezm",
        author_email="none", code_permalink="none", description="random numbers",
    )  # fmt: skip
    return "ezm/walk-v0"


@pytest.mark.filterwarnings("ignore:.*eval_env", "ignore:env_spec is None")
def test_a_data_set_that_minari_wrote_becomes_the_same_frames(door, tmp_path, minari_set):
    """By its name, and by the folder it lies in."""
    arrays, following = flat()
    assert door(save(tmp_path / "in.npz", arrays | {"next_observations": following}))[0] == 0
    expected = read(tmp_path)
    for dataset in (minari_set, tmp_path / "minari" / "ezm" / "walk-v0"):
        assert door(dataset)[1]["transitions"] == 20
        for name, array in read(tmp_path).items():
            np.testing.assert_array_equal(array, expected[name])
    assert "minari list local" in door("ezm/none-v0")[2]


def test_facts_say_where_the_episodes_are_from(door, tmp_path):
    assert door(save(tmp_path / "in.npz", flat()[0]))[0] == 0
    with safe_open(tmp_path / "out.safetensors", framework="np") as file:
        facts = file.metadata()
    assert facts["policy"] == "dataset: in.npz"
    assert (facts["robot"], facts["observation_size"]) == ("h1", "51")


def test_a_run_learns_from_converted_episodes(call_door, tmp_path):
    """A few updates on the two tasks' episodes alone, and then on its own as well."""
    from training.h1_env import H1Env

    rng = np.random.default_rng(0)
    for task in ("stand", "walk"):
        env = H1Env([task], seed=0, action_map="stance")
        observation, steps = env.reset()[0], []
        for _ in range(60):
            action = rng.uniform(-0.2, 0.2, (1, 19)).astype(np.float32)
            step = env.step(action)
            steps.append((observation, action[0], step.reward[0], False, False, step.obs[0].copy()))
            observation = step.obs[0].copy()
        env.close()
        names = ("observations", "actions", "rewards", "terminations", "truncations",
                 "next_observations")  # fmt: skip
        columns = zip(names, zip(*steps, strict=True), strict=True)
        file = save(tmp_path / f"{task}.npz", {name: np.array(part) for name, part in columns})
        out = tmp_path / f"{task}.safetensors"
        words = (f"task={task}", "action_map=stance")
        status, _, errors = call_door(convert.main, f"dataset={file}", f"out={out}", *words)
        assert status == 0, errors
    both = f"{tmp_path / 'stand.safetensors'},{tmp_path / 'walk.safetensors'}"
    trainer = Trainer(
        load_config(
            [
                "preset=debug",
                "tasks=[stand,walk]",
                f"demos={both}",
                f"out={tmp_path / 'run'}",
                "collect.action_map=stance",
                "imitation.pretrain=4",
                "updates=8",
                "segment=4",
                "evaluate_every=8",
                "log_every=4",
            ]
        )
    )
    assert trainer.batches.sample(0, rng).demo.all()
    trainer.run()
    assert trainer.learner.updates == 8
    assert trainer.steps > 0
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").open()]
    assert all(np.isfinite(row["loss"]) for row in rows if "loss" in row)
