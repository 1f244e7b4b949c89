"""The mirror against the code that makes observations, and against the simulator."""

import numpy as np
import pytest
import torch

from distill.config import StudentConfig
from distill.student import make_spec, make_student
from distill.symmetry import Mirror
from runtime.observation import Memory, observe, remember
from runtime.state import Command, state_from_generalized
from training import mirror as figures
from training.h1_env import H1Env

SPEC = make_spec("t", ("stand", "walk"), "stance", StudentConfig(history=3))


def turned(qpos: np.ndarray, qvel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    whole = figures.mirror_observation(np.concatenate([qpos, qvel], axis=-1))
    return whole[..., :26], whole[..., 26:]


def seen(states: list, actions: list) -> np.ndarray:
    memory = Memory.create(SPEC)
    for (qpos, qvel), action in zip(states, actions, strict=True):
        state = state_from_generalized(qpos, qvel)
        observation = observe(state, Command("walk", heading=0.0), SPEC, memory)
        remember(memory, action)
    return observation


def test_the_mirrored_observation_is_what_the_mirrored_robot_observes():
    random = np.random.default_rng(0)
    states = [(random.normal(size=26), random.normal(size=25)) for _ in range(5)]
    actions = [random.normal(size=19) for _ in range(5)]
    given = torch.from_numpy(seen(states, actions))
    images = [figures.mirror_joints(action) for action in actions]
    expected = seen([turned(*state) for state in states], images)
    mirror = Mirror.of(SPEC)
    assert mirror is not None
    np.testing.assert_allclose(mirror.observation(given), expected, atol=1e-5)
    np.testing.assert_array_equal(mirror.observation(mirror.observation(given)), given)


def test_the_mirrored_robot_under_mirrored_actions_moves_as_the_mirror_image():
    """Oracle: the simulator, whose left and right links differ by a few grams."""
    env = H1Env(["walk", "walk"], seed=0, action_map="stance", reset_noise=0.0)
    random, mirror = np.random.default_rng(1), Mirror.of(SPEC)
    assert mirror is not None
    for _ in range(20):
        action = torch.from_numpy(0.5 * random.uniform(-1, 1, 19).astype(np.float32))
        env.step(torch.stack([action, mirror.action(action)]).numpy())
    expected = turned(env.qpos[:1], env.qvel[:1])
    np.testing.assert_allclose(env.qpos[1:], expected[0], atol=0.02)
    assert np.abs(env.qpos[1] - env.qpos[0]).max() > 0.2


def test_tasks_whose_scene_has_no_symmetry_are_left_alone():
    mixed = Mirror.of(make_spec("t", ("walk", "hurdle"), "stance", StudentConfig()))
    assert mixed is not None
    assert mixed.tasks.tolist() == [True, False]
    assert Mirror.of(make_spec("t", ("stair",), "stance", StudentConfig())) is None


def test_the_normaliser_of_both_halves_is_that_of_the_data_with_their_images():
    config, mirror = StudentConfig(history=3, hidden=(8,)), Mirror.of(SPEC)
    assert mirror is not None
    data = torch.randn(500, SPEC.observation_size, generator=torch.manual_seed(0)) * 3 + 1
    student, other = (make_student(SPEC, config, 0) for _ in range(2))
    student.normalise(data, mirror)
    other.normalise(torch.cat([data, mirror.observation(data)]))
    torch.testing.assert_close(student.mean, other.mean, atol=1e-4, rtol=0)
    torch.testing.assert_close(student.std, other.std, atol=0, rtol=5e-3)


@pytest.mark.parametrize("name", ["stance", "home", "benchmark"])
def test_the_action_maps_are_symmetric(name):
    assert Mirror.of(make_spec("t", ("walk",), name, StudentConfig())) is not None
