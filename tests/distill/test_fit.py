import math

import numpy as np
import pytest
import torch

from distill.config import FitConfig, StudentConfig
from distill.fit import Dataset, cosine, fit
from distill.rollouts import Chunk
from distill.student import make_spec, make_student


def chunk(rows: int, seed: int) -> Chunk:
    random = np.random.default_rng(seed)
    size = make_spec("t", ("stand", "walk"), "home", StudentConfig(history=1)).observation_size
    observation = random.normal(size=(rows, size)).astype(np.float32)
    action = np.tanh(observation[:, :19] - observation[:, 20:39])
    task, held = np.arange(rows) % 2, np.arange(rows) % 10 == 9
    return Chunk(observation, action, task, held, 0, np.zeros(2))


def student(seed: int = 0, **settings):
    config = StudentConfig(history=1, hidden=(64,), **settings)
    return make_student(make_spec("t", ("stand", "walk"), "home", config), config, seed)


def test_a_student_learns_a_function_of_what_it_sees():
    data = Dataset.of([chunk(4000, 0)], 10_000)
    pupil = student()
    losses = fit(pupil, data, FitConfig(batch=128, lr=3e-3), 400, seed=0)
    spread = data.action.std().item()
    assert losses["held_rms/1"] < 0.3 * spread
    assert losses["fit_loss"] < 0.1 * spread**2


def test_the_same_seed_gives_the_same_student():
    data = Dataset.of([chunk(200, 0)], 10_000)
    results = []
    for _ in range(2):
        pupil = student()
        fit(pupil, data, FitConfig(batch=32), 10, seed=1)
        results.append(pupil.infer(data.observation[:5].numpy()))
    np.testing.assert_array_equal(*results)


def test_the_normaliser_has_the_statistics_of_the_training_rows():
    data = Dataset.of([chunk(200, 0)], 10_000)
    pupil = student()
    pupil.normalise(data.observation[data.train] * 3 + 7)
    scaled = (data.observation[data.train] * 3 + 7 - pupil.mean) / pupil.std
    assert scaled.mean().abs() < 1e-5
    assert scaled.std(0).sub(1).abs().max() < 1e-4


def test_an_input_that_never_moves_is_not_blown_up():
    pupil = student()
    pupil.normalise(torch.ones(10, len(pupil.mean)))
    assert pupil.std.min() >= 0.02


def test_capacity_keeps_the_newest_states():
    old, new = chunk(40, 0), chunk(40, 1)
    data = Dataset.of([old, new], 50)
    assert len(data.task) == 50
    np.testing.assert_array_equal(data.observation[-40:], new.observation)
    np.testing.assert_array_equal(data.observation[:10], old.observation[-10:])


def test_held_out_rows_are_never_trained_on():
    data = Dataset.of([chunk(100, 0)], 1000)
    assert not set(data.train.tolist()) & set(data.held.tolist())
    assert len(data.train) + len(data.held) == 100


def test_the_learning_rate_falls_to_a_hundredth():
    assert cosine(0.0) == 1.0
    assert cosine(1.0) == pytest.approx(0.01)
    assert cosine(0.5) == pytest.approx(0.01 + 0.99 / 2 * (1 + math.cos(math.pi / 2)))


def test_an_untrained_student_stays_near_the_home_pose():
    observation = np.random.default_rng(0).normal(size=(50, len(student().mean)))
    assert np.abs(student().infer(observation.astype(np.float32))).max() < 0.5
