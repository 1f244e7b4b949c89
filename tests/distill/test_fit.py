import dataclasses
import math

import numpy as np
import pytest
import torch

from distill.config import FitConfig, StudentConfig
from distill.fit import Dataset, cosine, fit
from distill.rollouts import Chunk
from distill.student import make_spec, make_student
from distill.symmetry import Mirror


def chunk(rows: int, seed: int) -> Chunk:
    random = np.random.default_rng(seed)
    size = make_spec("t", ("stand", "walk"), "home", StudentConfig(history=1)).observation_size
    observation = random.normal(size=(rows, size)).astype(np.float32)
    action = np.tanh(observation[:, :19] - observation[:, 20:39])
    task, held = np.arange(rows) % 2, np.arange(rows) % 10 == 9
    return Chunk(observation, {"best": action}, task, held, np.zeros(rows, bool), 1, 0, np.zeros(2))


def student(seed: int = 0, **settings):
    config = StudentConfig(history=1, hidden=(64,), **settings)
    return make_student(make_spec("t", ("stand", "walk"), "home", config), config, seed)


def test_a_student_learns_a_function_of_what_it_sees():
    data = Dataset.of([chunk(4000, 0)], 10_000, ("best",))
    pupil = student()
    losses = fit(pupil, data, FitConfig(batch=128, lr=3e-3), 400, seed=0)
    spread = data.action.std().item()
    assert losses["held_rms/1"] < 0.3 * spread
    assert losses["fit_loss"] < 0.1 * spread**2


def test_the_same_seed_gives_the_same_student():
    data = Dataset.of([chunk(200, 0)], 10_000, ("best",))
    results = []
    for _ in range(2):
        pupil = student()
        fit(pupil, data, FitConfig(batch=32), 10, seed=1)
        results.append(pupil.infer(data.observation[:5].numpy()))
    np.testing.assert_array_equal(*results)


def test_the_normaliser_has_the_statistics_of_the_training_rows():
    data = Dataset.of([chunk(200, 0)], 10_000, ("best",))
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
    data = Dataset.of([old, new], 50, ("best",))
    assert len(data.task) == 50
    np.testing.assert_array_equal(data.observation[-40:], new.observation)
    np.testing.assert_array_equal(data.observation[:10], old.observation[-10:])


def test_held_out_rows_are_never_trained_on():
    data = Dataset.of([chunk(100, 0)], 1000, ("best",))
    assert not set(data.train.tolist()) & set(data.held.tolist())
    assert len(data.train) + len(data.held) == 100


def test_the_learning_rate_falls_to_a_hundredth():
    assert cosine(0.0) == 1.0
    assert cosine(1.0) == pytest.approx(0.01)
    assert cosine(0.5) == pytest.approx(0.01 + 0.99 / 2 * (1 + math.cos(math.pi / 2)))


def test_an_untrained_student_stays_near_the_home_pose():
    observation = np.random.default_rng(0).normal(size=(50, len(student().mean)))
    assert np.abs(student().infer(observation.astype(np.float32))).max() < 0.5


def test_with_mirror_images_a_student_answers_on_the_side_it_never_saw():
    """All states lean to the left, with one answer; leaning right wants the mirrored answer."""
    data = chunk(600, 0)
    mirror = Mirror.of(make_spec("t", ("stand", "walk"), "home", StudentConfig(history=1)))
    observation = data.observation.copy()
    observation[:, 1] = 1.0 + np.abs(observation[:, 1])  # gravity's y
    left = torch.linspace(-0.8, 0.8, 19)
    labels = {"best": left.expand(600, 19).numpy().copy()}
    data = dataclasses.replace(data, observation=observation, labels=labels)
    data, right = Dataset.of([data], 9999, ("best",)), mirror.action(left)
    errors = []
    for wanted in (True, False):
        pupil = student()
        fit(pupil, data, FitConfig(batch=64, lr=3e-3, mirror=wanted), 100, 0, mirror)
        answers = torch.from_numpy(pupil.infer(mirror.observation(data.observation).numpy()))
        errors.append((answers - right).square().mean().item())
    assert errors[0] < 0.1 * errors[1]


def walk_chunk(rows: int) -> Chunk:
    """One episode whose labels jump to and fro while the state creeps."""
    data = chunk(rows, 0)
    creep = data.observation[:1] + 1e-3 * np.arange(rows, dtype=np.float32)[:, None]
    creep += 0.05 * data.observation
    action = np.where(np.arange(rows)[:, None] % 2, 0.5, -0.5) * np.ones(19)
    lasting = np.ones(rows, bool)
    lasting[-1] = False
    return dataclasses.replace(
        data, observation=creep, labels={"best": action.astype(np.float32)}, lasting=lasting
    )


def test_the_smoothness_penalty_makes_actions_change_less_from_step_to_step():
    data = Dataset.of([walk_chunk(400)], 1000, ("best",))
    rates = []
    for weight in (0.0, 10.0):
        pupil = student()
        fit(pupil, data, FitConfig(batch=64, lr=3e-3, smooth=weight), 100, 0)
        answers = pupil.infer(data.observation.numpy())
        rates.append(np.abs(np.diff(answers, axis=0)).mean())
    assert rates[1] < 0.5 * rates[0]


def test_the_next_step_is_that_of_the_same_robot_and_none_follows_an_episodes_last():
    data = chunk(12, 0)
    lasting = np.array([True] * 6 + [False, True, True] + [False] * 3)
    pair = dataclasses.replace(data, lasting=lasting, rows=3)
    whole = Dataset.of([pair, pair], 100, ("best",))
    expected = [3, 4, 5, 6, 7, 8, 6, 10, 11, 9, 10, 11]
    assert whole.following.tolist() == expected + [12 + i for i in expected]
    newest = Dataset.of([pair, pair], 14, ("best",))
    assert newest.following.tolist() == [0, 1] + [2 + i for i in expected]


def test_states_that_look_alike_get_the_mean_of_their_labels_whatever_their_spread():
    """T5 in closed form: one fitted spread per state cannot tell alike states apart."""
    data = chunk(2000, 0)
    sure = np.arange(2000) % 4 == 0
    action = np.where(sure[:, None], 0.5, -0.5) * np.ones((1, 19), np.float32)
    std = np.where(sure[:, None], 0.05, 1.0) * np.ones((1, 19), np.float32)
    same = np.zeros_like(data.observation)
    labels = {"gaussian": action.astype(np.float32), "std": std.astype(np.float32)}
    data = Dataset.of(
        [dataclasses.replace(data, labels=labels, observation=same)], 9999, ("gaussian", "std")
    )
    pupil = student()
    fit(pupil, data, FitConfig(batch=128, lr=3e-3), 150, 0)
    assert pupil.infer(same[:1])[0] == pytest.approx(np.full(19, -0.25), abs=0.08)


def test_a_value_is_fitted_beside_the_action_and_leaves_no_trace_in_the_graph():
    data = chunk(500, 0)
    labels = data.labels | {"value": data.observation[:, 0]}
    whole = Dataset.of([dataclasses.replace(data, labels=labels)], 9999, ("best", "value"))
    pupil = student()
    names = set(pupil.state_dict())
    losses = fit(pupil, whole, FitConfig(batch=64, value=0.5), 20, 0)
    assert np.isfinite(losses["fit_loss"])
    assert set(pupil.state_dict()) == names
