"""What the batched environment promises beside the benchmark's figures."""

import mujoco
import numpy as np
import pytest

from runtime import h1
from training.h1_env import H1Env
from training.randomization import Randomization


def actions(steps, rows, seed=0, scale=0.5):
    return np.random.default_rng(seed).uniform(-scale, scale, (steps, rows, 19)).astype(np.float32)


def play(env, sequence):
    """Step through a sequence of actions; return observations [T, E, O] and rewards [T, E]."""
    steps = [env.step(action) for action in sequence]
    return np.array([step.obs for step in steps]), np.array([step.reward for step in steps])


MIXED = ("stand", "walk", "stand", "run", "walk", "run", "stand")


def test_two_threads_give_bitwise_what_one_gives():
    sequence = actions(15, len(MIXED))
    one, two = (play(H1Env(MIXED, seed=5, threads=count), sequence) for count in (1, 2))
    assert np.array_equal(one[0], two[0])
    assert np.array_equal(one[1], two[1])


def test_a_row_lives_the_same_life_alone_and_among_others():
    sequence = actions(15, len(MIXED))
    together = play(H1Env(MIXED, seed=list(range(7))), sequence)
    for row, name in enumerate(MIXED):
        alone = play(H1Env([name], seed=[row]), sequence[:, row : row + 1])
        assert np.array_equal(alone[0][:, 0], together[0][:, row])
        assert np.array_equal(alone[1][:, 0], together[1][:, row])


def test_rows_and_seeds_start_differently_and_a_seed_repeats_itself():
    env = H1Env(["stand"] * 3, seed=1)
    first = env.reset()
    assert len(np.unique(first[:, 2])) == 3
    assert not np.array_equal(env.reset(), first)
    repeated = H1Env(["stand"] * 3, seed=1)
    assert np.array_equal(repeated.reset(), first)


def test_reset_of_some_rows_leaves_the_others_where_they_are():
    env = H1Env(["stand"] * 4, seed=0)
    play(env, actions(5, 4))
    before = env.qpos.copy()
    env.reset(np.array([False, True, False, True]))
    assert np.array_equal(env.qpos[[0, 2]], before[[0, 2]])
    assert (env.qvel[[1, 3]] == 0).all()
    env.reset(np.array([0]))
    assert (env.qvel[0] == 0).all()
    assert (env.qvel[2] != 0).any()


def test_an_episode_that_ends_goes_on_until_somebody_resets_it():
    env = H1Env(["walk"], seed=0, max_steps=200)
    ended = [env.step(action).terminated[0] for action in actions(120, 1, scale=1.0)]
    assert ended[-1]
    after = env.step(np.zeros((1, 19)))
    assert env.qpos[0, 2] < 0.4
    assert not after.truncated[0]


def test_termination_can_be_ignored():
    env = H1Env(["walk"], seed=0, terminate=False)
    ended = [env.step(action).terminated[0] for action in actions(120, 1, scale=1.0)]
    assert env.qpos[0, 2] < 0.2
    assert not any(ended)


def test_truncation_comes_at_each_rows_own_limit():
    env = H1Env(["stand"] * 2, seed=0, max_steps=[3, 5])
    seen = [env.step(np.zeros((2, 19))).truncated.tolist() for _ in range(5)]
    assert seen == [[False, False], [False, False], [True, False], [True, False], [True, True]]


def test_a_row_that_diverges_is_reported_and_does_not_spoil_the_batch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its warnings into a file
    env, calm = (H1Env(["stand"] * 3, seed=0, terminate=False) for _ in range(2))
    env.physics.data[1].qvel[8] = np.nan
    step, other = env.step(np.zeros((3, 19))), calm.step(np.zeros((3, 19)))
    assert step.terminated.tolist() == [False, True, False]
    assert (step.reward[1], env.diverged) == (0, 1)
    assert np.isfinite(step.obs).all()
    assert np.isfinite(step.terms["standing"]).all()
    assert np.array_equal(step.obs[[0, 2]], other.obs[[0, 2]])
    env.reset(step.terminated)
    assert not env.step(np.zeros((3, 19))).terminated.any()


def test_terms_belong_to_the_rows_whose_task_has_them():
    step = H1Env(["stand", "walk"], seed=0).step(np.zeros((2, 19)))
    assert np.isnan(step.terms["move"]).tolist() == [True, False]
    assert np.isnan(step.terms["dont_move"]).tolist() == [False, True]


@pytest.mark.parametrize("late", [1, 4, 10])
def test_a_delayed_control_acts_that_many_substeps_late(late):
    """Oracle: one robot in plain MuJoCo whose control is switched by hand."""
    env = H1Env(["stand"], seed=3, action_map="home", delay_substeps=(late, late))
    model, data = env.physics.models[0], mujoco.MjData(env.physics.models[0])
    data.qpos[:] = env.qpos[0]
    mujoco.mj_forward(model, data)
    held = h1.DEFAULT_POSE
    for action in actions(6, 1):
        env.step(action)
        target = h1.action_map("home").target(action[0])
        for substep in range(10):
            data.ctrl[:] = held if substep < late else target
            mujoco.mj_step(model, data)
        held = target
        np.testing.assert_allclose(env.qpos[0], data.qpos, atol=1e-12)


def test_delays_are_drawn_anew_for_every_episode():
    env = H1Env(["stand"] * 40, seed=0, delay_substeps=(2, 6))
    first = env._delay.copy()
    assert set(first) == {2, 3, 4, 5, 6}
    env.reset()
    assert (env._delay != first).any()


def test_a_randomised_robot_differs_between_rows_and_episodes_within_its_ranges():
    ranges = Randomization(mass=(0.8, 1.2), friction=(0.5, 0.6))
    env = H1Env(["stand"] * 3, seed=0, randomize=ranges)
    nominal = H1Env(["stand"], seed=0).physics.models[0]
    models = env.physics.models
    masses = [model.body_mass.sum() for model in models]
    assert len(set(masses)) == 3
    for model in models:
        ratio = model.body_mass[nominal.body_mass > 0] / nominal.body_mass[nominal.body_mass > 0]
        assert (ratio >= 0.8).all()
        assert (ratio <= 1.2).all()
        assert (model.geom_friction[:, 0] >= 0.5).all()
        assert (model.geom_friction[:, 0] <= 0.6).all()
        assert np.array_equal(model.actuator_gainprm[:, 0], -model.actuator_biasprm[:, 1])
        assert model.body_subtreemass[1] == pytest.approx(model.body_mass.sum())
    env.reset()
    assert [model.body_mass.sum() for model in models] != masses


def test_randomisation_with_ranges_of_one_is_the_nominal_robot():
    sequence = actions(10, 2)
    plain, other = (
        play(H1Env(["walk"] * 2, seed=[1, 2], randomize=r), sequence)
        for r in (None, Randomization())
    )
    np.testing.assert_allclose(plain[0], other[0], atol=1e-6)


def test_pushes_come_about_as_often_as_asked_and_jump_the_velocity():
    pushes = Randomization(push_speed=(-1.0, 1.0), push_interval=0.2)
    env = H1Env(["stand"] * 30, seed=0, randomize=pushes)
    pushed, jumps = 0, []
    for _ in range(50):
        due, before = env._next_push.copy(), env.qvel[:, :2].copy()
        env.step(np.zeros((30, 19)))
        hit = env._next_push != due
        pushed += hit.sum()
        jumps += list(np.abs(env.qvel[hit, :2] - before[hit]).max(axis=1))
    assert pushed == pytest.approx(30 * 50 * 0.02 / 0.2, rel=0.3)
    assert 0.2 < np.median(jumps) < 1.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": []}, "at least one"),
        ({"seed": [1, 2]}, "2 seeds given for 1 rows"),
        ({"delay_substeps": (3, 11)}, "delay_substeps"),
        ({"threads": 0}, "threads"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        H1Env(**{"tasks": ["stand"], "seed": 0, **options})


def test_actions_of_the_wrong_shape_and_unknown_tasks_are_refused():
    env = H1Env(["stand"] * 2, seed=0)
    with pytest.raises(ValueError, match=r"\(19,\), expected \(2, 19\)"):
        env.step(np.zeros(19))
    with pytest.raises(KeyError, match="moonwalk"):
        H1Env(["moonwalk"], seed=0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_action_that_is_not_finite_ends_its_episode_once_and_no_other(value):
    env, calm = (H1Env(["stand"] * 3, seed=0) for _ in range(2))
    action = np.zeros((3, 19))
    action[1, 4] = value
    step, other = env.step(action), calm.step(np.zeros((3, 19)))
    assert step.failed is not None
    assert step.failed.tolist() == step.terminated.tolist() == [False, True, False]
    assert (step.reward[1], env.diverged, calm.diverged) == (0, 1, 0)
    assert np.array_equal(step.obs[[0, 2]], other.obs[[0, 2]])
    env.step(action)
    assert env.diverged == 1  # nobody has begun another episode
    env.reset(step.failed)
    assert not env.step(np.zeros((3, 19))).terminated.any()
    env.step(action)
    assert env.diverged == 2
