"""What tasks with scenes, things, goals and stages add to the environment's promises."""

import numpy as np
import pytest

from training.evaluation import evaluate
from training.gym_env import H1Gym
from training.h1_env import H1Env
from training.randomization import MODERATE
from training.tasks import REACH_HIGH, REACH_LOW, TASKS

ALL = tuple(TASKS)


def play(env, steps=8, seed=0):
    """Step through random actions; return observations [T, E, O] and rewards [T, E]."""
    shape = (steps, env.num_envs, 19)
    actions = np.random.default_rng(seed).uniform(-0.5, 0.5, shape).astype(np.float32)
    done = [env.step(action) for action in actions]
    return np.array([step.obs for step in done]), np.array([step.reward for step in done])


def test_a_batch_of_all_tasks_gives_the_same_on_two_threads_and_row_by_row():
    seeds = list(range(len(ALL)))
    one, two = (play(H1Env(ALL, seed=seeds, threads=count)) for count in (1, 2))
    assert np.array_equal(one[0], two[0])
    assert np.array_equal(one[1], two[1])
    actions = np.random.default_rng(0).uniform(-0.5, 0.5, (8, len(ALL), 19)).astype(np.float32)
    for row in (3, 6, 10):  # reach, maze, balance_hard
        alone = H1Env([ALL[row]], seed=[row])
        for time, action in enumerate(actions):
            step = alone.step(action[row : row + 1])
            assert step.reward[0] == one[1][time, row]
            assert np.array_equal(step.obs[0], one[0][time, row, : alone.obs_dim])


def test_observations_are_as_long_as_the_longest_and_padded_with_zeros():
    env = H1Env(ALL, seed=0)
    obs, _ = play(env, 1)
    assert env.obs_dim == 77
    for row, name in enumerate(ALL):
        size = TASKS[name].observation_size
        assert (obs[0, row, size:] == 0).all()
        np.testing.assert_allclose(obs[0, row, :size], env.observation(row), atol=1e-5)
        robot = obs[0, row, TASKS[name].robot_columns]
        np.testing.assert_allclose(robot, np.r_[env.qpos[row], env.qvel[row]], atol=1e-5)


@pytest.mark.parametrize(("name", "size"), [("stand", 51), ("reach", 57), ("sit_hard", 64)])
def test_alone_a_task_is_not_padded(name, size):
    assert H1Env([name], seed=0).obs_dim == size
    assert H1Gym(name).observation_space.shape == (size,)


def test_the_maze_pays_its_first_checkpoint_once_an_episode():
    env = H1Env(["maze"], seed=0)
    _, rewards = play(env, 3)
    assert (rewards[:, 0] > 100).tolist() == [True, False, False]
    assert env.stage[0] == 1
    env.reset()
    assert env.stage[0] == 0
    assert play(env, 1)[1][0, 0] > 100


def test_a_goal_holds_for_an_episode_and_lies_in_its_box():
    env = H1Env(["reach"] * 50, seed=0)
    goals = env.goal.copy()
    obs, _ = play(env, 2)
    assert np.array_equal(env.goal, goals)
    np.testing.assert_allclose(obs[1, :, 54:57], goals, atol=1e-6)
    assert (goals >= REACH_LOW).all()
    assert (goals <= REACH_HIGH).all()
    assert len(np.unique(goals)) == 150
    env.reset(np.array([7]))
    assert (env.goal != goals).any(axis=1).tolist() == [row == 7 for row in range(50)]


def test_sit_hard_begins_upright_somewhere_before_a_chair_that_is_not_quite_in_its_place():
    obs = H1Env(["sit_hard"] * 60, seed=0).reset()
    assert (obs[:, 0] >= 0.2).all() and (obs[:, 0] <= 0.4).all()
    assert (np.abs(obs[:, 1]) <= 0.15).all()
    yaw = 2 * np.arctan2(obs[:, 6], obs[:, 3])
    assert (obs[:, 4:6] == 0).all()
    assert np.abs(yaw).max() <= 1.8
    assert np.ptp(yaw) > 2.5
    assert 0 < np.abs(obs[:, 26:29] - [-0.25, 0, 0]).max() <= 0.01 + 1e-6


def test_upstreams_quirk_of_the_global_generator_is_there_for_the_single_view():
    env = H1Gym("reach")
    for seed in (0, 5):
        obs, _ = env.reset(seed=seed)
        np.random.seed(seed)
        np.testing.assert_allclose(obs[54:], np.random.uniform(REACH_LOW, REACH_HIGH), atol=1e-6)


def test_a_chair_that_is_lost_ends_its_row_and_no_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its warnings into a file
    env = H1Env(["sit_hard", "walk"], seed=0)
    env.physics.data[0].qvel[26] = np.nan
    step = env.step(np.zeros((2, 19)))
    assert step.failed is not None
    assert step.failed.tolist() == step.terminated.tolist() == [True, False]
    assert np.isfinite(step.obs).all()
    assert step.reward[0] == 0


def test_a_breakdown_ends_an_episode_is_counted_and_the_batch_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    class Broken(H1Env):
        def step(self, action):
            if self._steps[0] == 3:
                self.physics.data[1].qvel[8] = np.nan
            return super().step(action)

    scores = evaluate(
        lambda o, t: np.zeros((len(o), 19)),
        ("walk", "maze"),
        episodes=2,
        seed=0,
        action_map="home",
        terminate=False,
        steps=8,
        make_env=Broken,
    )
    assert scores["walk"].lengths == (8, 4)
    assert scores["maze"].lengths == (8, 8)
    assert (scores["walk"].failures, scores["maze"].failures) == (1, 0)


def test_robots_with_things_can_be_randomised_too():
    env = H1Env(["balance_hard", "maze", "reach"], seed=0, randomize=MODERATE)
    obs, rewards = play(env)
    assert np.isfinite(obs).all()
    assert np.isfinite(rewards).all()


def test_an_unknown_task_or_another_robots_is_named_with_what_exists():
    with pytest.raises(KeyError, match=r"h1hand-walk.*stand, walk"):
        H1Env(["walk", "h1hand-walk"], seed=0)
