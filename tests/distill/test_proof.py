"""Measuring whoever acts, against HumanoidBench's own evaluation and against plain physics."""

import dataclasses
import itertools

import numpy as np
import pytest

from distill.config import NO_NOISE, NoiseConfig, RolloutConfig
from distill.proof import CLEAN, GRAVITY, MASS, PUSH_AT, conditions, measure, push_curve
from runtime import h1
from training.assembly import build_model
from training.evaluation import evaluate
from training.randomization import MODERATE

TASKS = ("stand", "walk")


def act(observation: np.ndarray, task: np.ndarray) -> np.ndarray:
    """Something that falls: a slow sway."""
    phase = 3.0 * observation[:, 2:3] + np.arange(19) + task[:, None]
    return (0.4 * np.sin(phase)).astype(np.float32)


def home(observation: np.ndarray, task: np.ndarray) -> np.ndarray:
    pose = h1.action_map("home").action(h1.DEFAULT_POSE)
    return np.tile(pose, (len(observation), 1))


def test_returns_and_lengths_are_those_of_the_evaluation_with_termination():
    """Oracle: training.evaluation, which stops at the fall; this loop goes on."""
    settings = {"episodes": 2, "seed": 5, "action_map": "home", "steps": 110}
    expected = evaluate(act, TASKS, **settings)
    found = measure(act, TASKS, both=True, **settings)
    for task in TASKS:
        np.testing.assert_allclose(found[task]["returns"], expected[task].returns, atol=0.051)
        assert found[task]["lengths"] == list(expected[task].lengths)
        assert found[task]["falls"] == sum(x < 110 for x in expected[task].lengths) > 0


def test_without_termination_an_episode_earns_on_after_its_fall():
    settings = {"episodes": 2, "seed": 5, "action_map": "home", "steps": 110}
    expected = evaluate(act, ("walk",), terminate=False, **settings)
    found = measure(act, ("walk",), both=True, **settings)["walk"]
    assert found["ezm"]["mean"] == pytest.approx(expected["walk"].mean, abs=0.051)
    assert found["ezm"]["mean"] >= found["mean"]
    assert "ezm" not in measure(act, ("walk",), **settings)["walk"]


def test_an_action_that_jumps_by_one_joint_has_that_action_rate():
    """Oracle: one of 19 joints flips between 0 and 0.4: sqrt(0.16 / 19)."""
    tick = itertools.count()

    def flip(observation: np.ndarray, task: np.ndarray) -> np.ndarray:
        action = home(observation, task)
        action[:, 11] = 0.4 * (next(tick) % 2)
        return action

    found = measure(flip, ("stand",), episodes=1, seed=0, action_map="home", steps=20)["stand"]
    assert found["action_rate"] == pytest.approx(np.sqrt(0.16 / 19 * 19 / 20), rel=1e-3)


def test_the_mass_is_the_models():
    assert pytest.approx(build_model("floor").body_mass.sum(), abs=0.01) == MASS
    assert pytest.approx(-build_model("floor").opt.gravity[2]) == GRAVITY


def test_conditions_are_nominal_late_and_everything():
    found = conditions(RolloutConfig())
    assert found["clean"] == CLEAN
    assert found["delayed"].delay_substeps == (0, 10)
    assert found["randomised"].randomize == MODERATE
    assert found["randomised"].noise == NoiseConfig()


def test_a_distillation_on_clean_robots_is_still_measured_on_randomised_ones():
    config = dataclasses.replace(
        RolloutConfig(), delay_substeps=(0, 0), randomize=False, noise=NO_NOISE
    )
    assert conditions(config) == conditions(RolloutConfig())


def test_a_push_moves_the_base_by_its_size_and_only_those_still_up_are_counted():
    speeds: list[np.ndarray] = []

    def spy(observation: np.ndarray, task: np.ndarray) -> np.ndarray:
        speeds.append(observation[:, 26:28].copy())
        return home(observation, task)

    found = push_curve(spy, ("stand",), (0.0, 30.0), action_map="home", episodes=2, seed=0)
    none, hard = found["stand"]
    assert none["size"] == 0.0 and hard["size"] == 30.0
    assert none["pushed"] == hard["pushed"]
    if hard["pushed"]:
        assert hard["recovered"] == 0
        jump = np.linalg.norm(speeds[PUSH_AT + 1], axis=1)
        assert jump[2:].min() > 5.0 > jump[:2].max()
    else:
        assert none["share"] is None


def test_the_sizes_of_a_push_share_their_starts_and_directions():
    """Two sizes that are the same number have the same outcome."""
    found = push_curve(home, ("stand",), (0.3,), action_map="home", episodes=3, seed=1)
    again = push_curve(home, ("stand",), (0.3,), action_map="home", episodes=3, seed=1)
    assert found == again
