import dataclasses

import numpy as np
import pytest

from distill import rollouts
from distill.config import NO_NOISE, LabelConfig, NoiseConfig, RolloutConfig, StudentConfig
from distill.rollouts import Drivers, Senses, beta, collect, held_rows, rotate
from distill.student import make_spec
from distill.teacher import Teacher
from runtime.observation import gravity_of
from training.randomization import MODERATE

CONFIG = RolloutConfig(envs_per_task=2, steps=12, episode_steps=(8,), held=0.5)
BEST = ("best",)


@pytest.fixture(scope="module")
def teacher(teacher_file):
    return Teacher.load(teacher_file, LabelConfig())


@pytest.fixture(scope="module")
def spec(teacher):
    return make_spec("t", teacher.tasks, teacher.agent.action_map, StudentConfig(history=3))


def zeros(observation: np.ndarray) -> np.ndarray:
    return np.zeros((len(observation), 19), np.float32)


def test_the_teachers_share_falls_linearly_from_one_to_zero():
    assert [beta(i, 4) for i in range(6)] == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    assert beta(0, 0) == 0.0


@pytest.mark.parametrize("mix", ["episode", "step"])
def test_the_mixture_drives_with_the_teacher_as_often_as_beta_says(mix):
    config = RolloutConfig(mix=mix, action_noise=0.0)
    drivers = Drivers(4000, 0.3, config, np.random.default_rng(0))
    action = drivers.choose(np.ones((4000, 19)), -np.ones((4000, 19)))
    assert set(np.unique(action)) == {-1.0, 1.0}
    assert np.mean(action[:, 0] > 0) == pytest.approx(0.3, abs=0.03)  # 4 sigma


def test_a_driver_keeps_the_wheel_for_a_whole_episode_unless_steps_are_mixed():
    label, student = np.ones((500, 19)), -np.ones((500, 19))
    for mix, changes in (("episode", False), ("step", True)):
        config = RolloutConfig(mix=mix, action_noise=0.0)
        drivers = Drivers(500, 0.5, config, np.random.default_rng(0))
        first, second = drivers.choose(label, student), drivers.choose(label, student)
        assert (first != second).any() == changes


def test_exploration_stays_in_the_action_range():
    drivers = Drivers(100, 1.0, RolloutConfig(action_noise=2.0), np.random.default_rng(0))
    action = drivers.choose(np.ones((100, 19)), np.ones((100, 19)))
    assert np.abs(action).max() <= 1.0
    assert action.min() < 0.0


def test_a_share_of_the_episodes_is_driven_without_noise():
    config = RolloutConfig(action_noise=0.1, quiet=0.3)
    drivers = Drivers(4000, 0.0, config, np.random.default_rng(0))
    still = (drivers.choose(np.ones((4000, 19)), np.zeros((4000, 19))) == 0.0).all(1)
    assert still.mean() == pytest.approx(0.3, abs=0.03)  # 4 sigma


def test_a_round_has_the_same_number_of_states_of_every_task(teacher, spec):
    chunk = collect(teacher, spec, zeros, CONFIG, BEST, number=1, seed=0)
    assert chunk.observation.shape == (48, spec.observation_size)
    assert chunk.labels["best"].shape == (48, 19)
    assert np.bincount(chunk.task).tolist() == [24, 24]
    assert np.bincount(chunk.task[chunk.held]).tolist() == [12, 12]
    assert np.isfinite(chunk.observation).all() and np.abs(chunk.labels["best"]).max() <= 1.0


def test_a_round_depends_on_its_seed_and_number_alone(teacher, spec):
    first, again = (collect(teacher, spec, zeros, CONFIG, BEST, number=1, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.observation, again.observation)
    np.testing.assert_array_equal(first.labels["best"], again.labels["best"])
    other = collect(teacher, spec, zeros, CONFIG, BEST, number=2, seed=3)
    assert (other.observation != first.observation).any()


def test_the_previous_action_seen_is_the_one_that_was_executed(teacher, spec):
    """With a student that drives alone and no noise, its own action must come back next tick."""
    config = dataclasses.replace(CONFIG, beta_rounds=1, action_noise=0.0, steps=6)

    def count(observation: np.ndarray) -> np.ndarray:
        count.tick += 0.01
        return np.full((len(observation), 19), count.tick, np.float32)

    count.tick = 0.0
    chunk = collect(teacher, spec, count, config, BEST, number=1, seed=0)
    task = len(teacher.tasks)
    newest = chunk.observation[:, -task - 19 : -task].reshape(6, 4, 19)
    np.testing.assert_allclose(newest[:, 0, 0], [0.0, 0.01, 0.02, 0.03, 0.04, 0.05], atol=1e-7)


def test_without_noise_senses_are_what_the_robot_would_observe(spec):
    random = np.random.default_rng(0)
    task = np.array([0, 1])
    qpos, qvel = random.normal(size=(2, 26)), random.normal(size=(2, 25))
    joint_noise = dataclasses.replace(NO_NOISE, joint_position=0.1)
    clean = Senses(spec, task, NO_NOISE, [0]).observe(qpos, qvel)
    noisy = Senses(spec, task, joint_noise, [0]).observe(qpos, qvel)
    assert (clean != noisy).any()
    np.testing.assert_array_equal(clean[:, :9], noisy[:, :9])  # three frames of gravity


def test_tilt_noise_turns_gravity_by_its_angle():
    upright = np.array([1.0, 0.0, 0.0, 0.0])
    down = gravity_of(rotate(upright, np.array([0.02, 0.0, 0.0])))
    assert np.arccos(-down[2]) == pytest.approx(0.02, rel=1e-3)


def test_of_every_task_s_robots_some_are_the_benchmark_s_own_and_others_are_guarded(
    teacher, spec, monkeypatch
):
    told = []

    class Noted(rollouts.H1Env):
        def __init__(self, tasks, **words):
            told.append(words)
            super().__init__(tasks, **words)

    monkeypatch.setattr(rollouts, "H1Env", Noted)
    config = dataclasses.replace(CONFIG, envs_per_task=4, nominal=0.5, guarded=0.25, steps=2)
    collect(teacher, spec, zeros, config, BEST, number=0, seed=0)
    count = len(teacher.tasks)
    assert told[0]["nominal"].tolist() == count * [False, True, False, True]
    assert told[0]["guarded"].tolist() == count * [False, False, True, False]


def test_robots_are_pushed_as_hard_and_as_often_as_they_shall_be():
    assert rollouts.others(RolloutConfig()) == MODERATE
    assert rollouts.others(RolloutConfig(randomize=False)) is None
    harder = rollouts.others(RolloutConfig(push_speed=0.8, push_interval=2.0))
    assert (harder.push_speed, harder.push_interval) == ((-0.8, 0.8), 2.0)
    assert dataclasses.replace(harder, push_speed=(-0.3, 0.3), push_interval=4.0) == MODERATE


def test_sensors_of_a_nominal_row_err_in_nothing(spec):
    task = np.array([0, 0])
    noisy = Senses(spec, task, NoiseConfig(), [1], exact=np.array([False, True]))
    exact = Senses(spec, task, NO_NOISE, [1])
    qpos, qvel = np.zeros((2, 26)), np.zeros((2, 25))
    qpos[:, 3] = 1.0
    felt, true = noisy.observe(qpos, qvel), exact.observe(qpos, qvel)
    assert np.array_equal(felt[1], true[1])
    assert np.abs(felt[0] - true[0]).max() > 1e-3


def test_episodes_go_on_where_another_task_s_was(monkeypatch, teacher, spec):
    """The student's memory too: at a change of task it keeps what it felt and did."""
    taken = []
    whole = Senses.reset

    def reset(self, rows, like=None):
        before = self.memory.previous_action.copy()
        whole(self, rows, like)
        if like is not None:
            for row in np.flatnonzero(like >= 0):
                taken.append((row, like[row]))
                np.testing.assert_array_equal(self.memory.previous_action[row], before[like[row]])
                assert not self.memory.fresh[row]

    monkeypatch.setattr(Senses, "reset", reset)
    config = RolloutConfig(envs_per_task=2, steps=12, episode_steps=(3, 12), handover=1.0)
    collect(teacher, spec, zeros, config, ["best"], number=0, seed=0)
    assert {row for row, _ in taken} == {0, 2}, "the rows of short episodes"
    assert all((row < 2) != (other < 2) for row, other in taken), "from the other task's rows"


def test_every_task_keeps_rows_to_train_on_and_rows_held_out():
    task = np.repeat([0, 1], 5)
    assert held_rows(task, 0.2).tolist() == [False] * 4 + [True] + [False] * 4 + [True]
    assert held_rows(np.array([0, 1]), 0.9).tolist() == [False, False]
    assert not held_rows(task, 0.0).any()


def test_a_step_lasts_into_the_next_unless_its_episode_or_the_round_ended(teacher, spec):
    """Oracle: an episode's first frames are all the same frame, the next step's are not."""
    config = dataclasses.replace(CONFIG, noise=NO_NOISE, steps=12, episode_steps=(5,))
    chunk = collect(teacher, spec, zeros, config, BEST, number=1, seed=0)
    newest = chunk.observation.reshape(12, chunk.rows, -1)[:, :, :9].reshape(12, chunk.rows, 3, 3)
    first = (newest[:, :, 0] == newest[:, :, 2]).all(-1)
    lasting = chunk.lasting.reshape(12, chunk.rows)
    np.testing.assert_array_equal(lasting[:-1], ~first[1:])
    assert not lasting[-1].any()


def test_every_label_of_a_state_comes_from_one_collection(teacher, spec):
    names = ("best", "weighted", "mean", "std", "value")
    chunk = collect(teacher, spec, zeros, CONFIG, names, number=1, seed=0)
    shapes = {name: label.shape for name, label in chunk.labels.items()}
    assert shapes == {name: (48, 19) for name in names[:4]} | {"value": (48,)}
