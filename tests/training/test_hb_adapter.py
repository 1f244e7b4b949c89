"""The real humanoid_bench package behind our interface, and beside our suite.

All but the last test need the package (docs/real_humanoidbench.md) and skip where it is missing.
"""

import numpy as np
import pytest
import torch

from training import hb_adapter
from training.agent import build_model
from training.checkpoint import save_agent
from training.contenders import contenders
from training.evaluation import evaluate
from training.h1_env import H1Env
from training.presets import PRESETS
from training.tasks import TASKS, task

try:
    hb_adapter.load_package()
    MISSING = ""
except hb_adapter.MissingPackageError as error:
    MISSING = str(error)

real = pytest.mark.skipif(bool(MISSING), reason=MISSING)
SEEDS = [3, 4]


def both(name, **options):
    """Return the real environment and ours, two rows each, with the same seeds everywhere."""
    theirs = hb_adapter.RealEnv([name] * 2, seed=SEEDS, **options)
    ours = H1Env([name] * 2, seed=SEEDS, **options)
    ours.generators = [np.random.default_rng(seed) for seed in SEEDS]
    ours.placers = [np.random.RandomState(seed) for seed in SEEDS]
    ours.reset()
    return theirs, ours


@real
@pytest.mark.parametrize("name", TASKS)
def test_episodes_begin_alike_and_stay_together_for_ten_steps(name):
    theirs, ours = both(name)
    assert theirs.obs_dim == ours.obs_dim == task(name).observation_size
    np.testing.assert_allclose(theirs._obs, ours._observe(), atol=1e-6)
    actions = np.random.default_rng(0).uniform(-0.3, 0.3, (10, 2, 19)).astype(np.float32)
    for action in actions:
        one, two = theirs.step(action), ours.step(action)
        assert (one.terminated == two.terminated).all()
        np.testing.assert_allclose(one.reward, two.reward, rtol=0.02, atol=0.02)
        assert set(one.terms) == set(two.terms)
    theirs.close()


@real
def test_rows_of_other_robots_are_padded_and_masked():
    env = hb_adapter.RealEnv(["stand", "h1hand-stand"], seed=0)
    assert (env.obs_dim, env.action_dim) == (151, 61)
    assert env.action_mask.sum(axis=1).tolist() == [19, 61]
    action = np.zeros((2, 61), np.float32)
    step = env.step(action)
    assert (step.obs[0, 51:] == 0).all()
    assert (step.obs[1, 51:] != 0).any()
    again = hb_adapter.RealEnv(["stand", "h1hand-stand"], seed=0)
    action[0, 19:] = 1.0  # joints that this robot does not have
    assert np.array_equal(again.step(action).obs[0], step.obs[0])
    for broken in (env, again):
        broken.close()


@real
def test_our_action_maps_mean_the_same_joint_targets_there():
    theirs, ours = both("stand", action_map="stance")
    for _ in range(10):
        action = np.full((2, 19), 0.2, np.float32)
        one, two = theirs.step(action), ours.step(action)
    np.testing.assert_allclose(one.obs[:, :26], two.obs[:, :26], atol=1e-2)  # m, rad
    with pytest.raises(ValueError, match="h1hand-stand"):
        hb_adapter.RealEnv(["h1hand-stand"], seed=0, action_map="stance")


@real
def test_the_same_checkpoint_scores_alike_on_our_suite_and_on_the_real_one(tmp_path):
    config = PRESETS["debug"]
    torch.manual_seed(0)
    model = build_model(config)
    torch.nn.init.normal_(model.policy_head.last.weight, std=0.02)
    save_agent(tmp_path / "agent.safetensors", model.state_dict(), config, {})
    _, mean, *_ = contenders(str(tmp_path))
    scores = [
        evaluate(
            mean.begin(config.tasks, 0),
            config.tasks,
            episodes=3,
            seed=0,
            action_map=mean.action_map,
            steps=60,  # it stands as long; through a fall contacts let the suites drift apart
            make_env=make_env,
        )
        for make_env in (H1Env, hb_adapter.RealEnv)
    ]
    for name in config.tasks:  # from the same starts
        assert scores[0][name].lengths == scores[1][name].lengths
        assert scores[0][name].returns == pytest.approx(scores[1][name].returns, rel=0.02)


@real
def test_what_cannot_be_is_refused_with_a_sentence():
    with pytest.raises(KeyError, match=r"h1-fly.*balance_hard"):
        hb_adapter.RealEnv(["fly"], seed=0)
    with pytest.raises(ValueError, match="no delays"):
        hb_adapter.RealEnv(["stand"], seed=0, delay_substeps=(0, 2))
    with pytest.raises(ValueError, match="not finite"):
        hb_adapter.RealEnv(["stand"], seed=0).step(np.full((1, 19), np.nan))


@pytest.mark.skipif(not MISSING, reason="the package is here")
def test_without_the_package_the_error_says_where_to_read_on():
    with pytest.raises(hb_adapter.MissingPackageError, match=r"docs/real_humanoidbench\.md"):
        hb_adapter.RealEnv(["stand"], seed=0)
