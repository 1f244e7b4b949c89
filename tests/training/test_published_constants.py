"""EZ-M's hyper-parameter table, line by line, against the presets that claim to be EZ-M."""

import dataclasses
import functools

import pytest

from training.config import TrainConfig
from training.presets import PRESETS
from training.suites import open_suite

TABLE = {
    # environment
    "collect.terminate": False,  # terminal handling: ignored, always bootstrap
    "collect.fall_height": 0.0,
    "collect.episode_steps": 500,
    "collect.long_episodes_after": 0.4,
    "collect.random_steps": 1000,
    "collect.random_scale": 1.0,
    "collect.noise": 0.0,  # the search's action as it is
    "collect.noise_end": 0.0,
    "collect.envs_per_task": 16,
    "collect.action_map": "benchmark",
    "collect.observation": "benchmark",
    # model
    "model.latent": 512,
    "model.width": 512,
    "model.blocks": 3,
    "model.reward_blocks": 3,
    "model.task_embedding": 128,
    "model.action_embedding": 64,
    "model.head_hidden": (512, 512),
    "model.policy_hidden": (512, 512),
    "model.head_norm": "batch",
    "model.value_heads": 5,
    "model.value_floor": 0.0,
    "model.value_slope": 0.0,
    "model.projector": 1024,
    "model.bins": 51,
    "model.support": "h",
    "model.reward_range": (-299.0, 299.0),
    "model.value_range": (-299.0, 299.0),
    "model.log_std_range": (-10.0, 2.0),
    # search
    "search.discount": 0.99,
    "search.simulations": 32,
    "search.leaf_actions": 2,
    "search.c_visit": 50.0,
    "search.c_scale": 0.1,
    "search.min_max_delta": 0.01,
    "search.counts": "as-released",
    "search.rescale": "tree",
    "proposals.mean": 0,
    "proposals.narrow": 4,
    "proposals.wide": 12,
    "proposals.wide_scale": 3.0,
    "proposals.gradient": 0,
    # targets
    "targets.unroll": 5,
    "targets.td_steps": 5,
    "targets.search_value_after": 50_000,
    "targets.search_value_newest": 200_000,
    "targets.reanalyse_positions": 6,  # with share 1 and staleness 0: 100 % re-analysis
    "targets.reanalyse_share": 1.0,
    "targets.policy_staleness": 0,
    "targets.policy_target": "best",
    "targets.lookahead": 0,
    "targets.imagined_share": 0.0,
    # loss
    "loss.reward": 1.0,
    "loss.value": 0.5,
    "loss.policy": 1.0,
    "loss.head_weight": 0.5,
    "loss.consistency": 5.0,
    "loss.path_consistency": 0.5,
    "loss.path_target": "mean",
    "loss.entropy": 5e-3,
    "loss.entropy_mode": "as-released",
    "loss.ascent": 0.0,
    # optimisation and target networks
    "optim.lr": 1e-4,
    "optim.l2": 2e-5,
    "optim.decay": "adam",
    "optim.drop_at": 0.9,
    "optim.clip": 5.0,
    "optim.ema": 0.01,
    "optim.ema_every": 5,
    "optim.freeze_norm_after": 0,
    "evaluate_every": 5000,
    # replay
    "replay.priority_exponent": 1.0,
    "replay.correction_exponent": 1.0,
    "replay.weight_floor": 0.1,
    "replay.task_share": (),
    "replay.recent_share": 0.0,
    "replay.shared": False,
    "replay.mirrored": False,
}
BUDGET = {  # (hb_medium, hb_hard): 2e5 + 2e4 and 6e5 + 2e4 updates, 0.2 and 0.3 per step of a task
    "updates": (220_000, 620_000),
    "update_ratio": (0.2, 0.3),
    "offline_updates": (20_000, 20_000),
    "collect.saturation": (0.1, 0.1),
    "targets.reanalyse_every": (1, 1),
}
LATER = ("offline_updates", "collect")  # off by default: older saved configurations lack their keys
OURS = {  # key: (theirs, ours); each on purpose
    "optim.batch": (512, 504),  # what is left of 512 in whole samples of 9 tasks, and of 14
    "precision": ("float16", "float32"),  # no loss scaling to go wrong, and it runs on a CPU
    "evaluate_episodes": (1, 5),  # one episode is noise of a hundred
    "replay.capacity": (2_000_000, 1_000_000),  # only the newest 1e6 are eligible: ours keeps those
    "replay.drop_tail": (100, 0),  # the ends of episodes are worth learning from
    "collect.random_stores": ("planned", "executed"),  # a wrong transition teaches a wrong world
    "optim.average_start": ("own", "copy"),  # targets of untrained strangers mean nothing
    "targets.value_reduce": ("min2_each", "min2"),  # one tree, one critic
    "search.parallel": (False, True),  # same visits, a round at a time
}


def at(config, key):
    return functools.reduce(getattr, key.split("."), config)


@pytest.mark.parametrize(("number", "preset"), [(0, "hb_medium"), (1, "hb_hard")])
def test_the_preset_has_every_constant_of_the_published_table(number, preset):
    wanted = TABLE | {key: both[number] for key, both in BUDGET.items()}
    wanted |= {key: ours for key, (_, ours) in OURS.items()}
    assert {key: at(PRESETS[preset], key) for key in wanted} == wanted


@pytest.mark.parametrize(("preset", "tasks"), [("hb_medium", 9), ("hb_hard", 14)])
def test_the_batch_is_the_most_of_512_that_every_task_has_an_equal_part_of(preset, tasks):
    config = PRESETS[preset]
    assert len(config.tasks) == tasks
    assert config.optim.batch == 512 // tasks * tasks


def test_the_medium_preset_sees_51_numbers_and_moves_19_joints():
    assert open_suite(PRESETS["hb_medium"])[1] == (51, 19)


def test_what_we_do_otherwise_differs_from_the_release():
    assert [key for key, (theirs, ours) in OURS.items() if theirs == ours] == []
    assert not set(OURS) & set(TABLE)


def test_a_run_that_is_told_nothing_has_the_medium_preset_s_constants():
    medium = PRESETS["hb_medium"]
    own = {key: getattr(medium, key) for key in ("tasks", "out", *LATER)}
    assert dataclasses.replace(TrainConfig(), **own) == medium
    assert dataclasses.replace(medium.collect, saturation=0.0) == TrainConfig().collect
