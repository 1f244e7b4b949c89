"""Impossible values end at the door, with the key and what was expected."""

import sys

import pytest

from training import checks
from training import run as door
from training.cli import ConfigError
from training.presets import PRESETS, load_config
from training.toy import TOYS

IMPOSSIBLE = (
    "update_ratio=0", "update_ratio=-1", "update_ratio=nan", "update_ratio=inf", "segment=-5",
    "segment=0", "log_every=0", "evaluate_episodes=0", "evaluate_every=0", "torch_threads=0",
    "seed=-1", "updates=-3", "updates=0", "max_minutes=-1", "cosine_every=-1",
    "optim.lr=nan", "optim.lr=-1", "optim.lr=0", "optim.ema_every=0", "optim.ema=5",
    "optim.ema=-1", "optim.clip=0", "optim.batch=0", "collect.envs_per_task=0",
    "collect.action_map=foo", "collect.threads=0", "collect.noise=-0.1", "collect.noise_spread=0",
    "collect.episode_steps=0", "collect.delay_substeps=[3,1]", "collect.delay_substeps=[0,11]",
    "collect.random_steps=-1", "model.bins=1", "model.latent=0",
    "model.head_hidden=[64,0]", "model.value_heads=0", "model.reward_range=[1,0]",
    "model.reward_range=[1,1]", "model.value_range=[nan,1]", "model.log_std_range=[2,-10]",
    "targets.unroll=0", "targets.td_steps=0", "targets.reanalyse_share=1.5",
    "targets.lookahead=-1", "search.discount=2", "search.discount=0", "search.leaf_actions=0",
    "proposals.narrow=-1", "proposals.wide_scale=nan", "imitation.share=2",
    "imitation.pretrain=-1", "replay.capacity=0", "replay.recent_share=-0.5",
    "replay.task_share=[1,nan]", "replay.task_share=[1,0]", "loss.value=-1",
    "loss.entropy_target=nan", "schedule.slow=inf", "tasks=[stand,stand]",
    "collect.randomization.push_interval=inf",
)  # fmt: skip


@pytest.mark.parametrize("word", IMPOSSIBLE)
def test_an_impossible_value_ends_with_code_2_and_a_sentence_about_its_key(
    word, tmp_path, call_door
):
    status, _, errors = call_door(door.main, "preset=debug", f"out={tmp_path / 'x'}", word)
    assert status == 2
    assert word.partition("=")[0].rpartition(".")[2] in errors
    assert len(errors.splitlines()) == 1
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("segment=0", "segment=0: expected at least 1"),
        ("search.discount=2", "search.discount=2.0: expected above 0 and at most 1"),
        ("optim.lr=nan", "optim.lr=nan: expected finite numbers"),
        ("model.reward_range=[1,0]", "expected [low, high] with low < high"),
        ("collect.action_map=foo", "collect.action_map='foo'; there are benchmark, home, stance"),
        ("tasks=[walk,stand,walk]", "expected every name once, ['walk'] come twice"),
    ],
)
def test_the_sentence_says_what_was_given_and_what_was_expected(word, sentence):
    with pytest.raises(ConfigError) as caught:
        load_config(["preset=debug", word])
    assert sentence in str(caught.value)


def test_no_candidates_at_all_are_refused():
    words = [f"proposals.{name}=0" for name in ("mean", "narrow", "wide", "gradient")]
    with pytest.raises(ConfigError, match="one root candidate"):
        load_config(["preset=debug", *words])


@pytest.mark.parametrize("ends", ["segment=1", "search.discount=1", "optim.ema=0", "seed=0"])
def test_the_ends_of_the_bounds_that_belong_to_them_are_allowed(ends):
    load_config(["preset=debug", ends])


def test_every_bounded_key_exists_and_every_number_of_every_preset_is_finite():
    for config in (PRESETS | TOYS).values():
        checks.check(config)
        assert all(checks._value(config, key) is not None for key in checks.BOUNDS)


@pytest.mark.skipif(sys.platform == "win32", reason="NOT TESTED HERE: there is no /proc")
def test_a_folder_that_cannot_be_made_is_a_sentence(call_door):
    status, _, errors = call_door(door.main, "preset=debug", "out=/proc/x/run")
    assert status == 2
    assert "/proc/x" in errors and len(errors.splitlines()) == 1


def test_an_error_of_building_the_parts_is_a_sentence(tmp_path, monkeypatch, call_door):
    def broken(config):
        raise ValueError("two parts\nthat do not fit")

    monkeypatch.setattr("training.trainer.Trainer", broken)
    status, _, errors = call_door(door.main, "preset=debug", f"out={tmp_path}")
    assert (status, errors) == (2, "error: two parts that do not fit\n")


def test_control_c_anywhere_ends_with_130_and_no_traceback(tmp_path, monkeypatch, call_door):
    def interrupted(config):
        raise KeyboardInterrupt

    monkeypatch.setattr("training.trainer.Trainer", interrupted)
    status, _, errors = call_door(door.main, "preset=debug", f"out={tmp_path}")
    assert status == 130
    assert "the same command resumes" in errors
