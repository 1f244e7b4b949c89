"""Guarded rows meet what the robot process' guard does; the others do not notice."""

from __future__ import annotations

import numpy as np
import pytest

from runtime import h1
from runtime.guard import Guard, GuardConfig
from runtime.mujoco_robot import MujocoRobot
from runtime.state import JointTargets
from training.cli import ConfigError
from training.demonstrator import DemonstratorConfig
from training.h1_env import H1Env
from training.limits import Limits, spread

STEPS = 12


def test_the_limits_are_those_of_the_guard():
    guard = GuardConfig()
    assert Limits() == Limits(
        position_margin=guard.position_margin,
        rate=guard.rate_limit,
        velocity_factor=guard.velocity_factor,
        velocity_ticks=guard.velocity_ticks,
        velocity_most=guard.velocity_most,
        tilt=guard.tilt_limit,
    )


def jumps(seed: int = 3) -> np.ndarray:
    """Return actions [STEPS, 19] that ask for more than a guard lets through."""
    return np.random.default_rng(seed).uniform(-1.0, 1.0, (STEPS, 19)).astype(np.float32)


def test_a_guarded_row_moves_as_the_robot_process_lets_it():
    env = H1Env(["stand"], seed=0, action_map="stance", guarded=np.ones(1, bool), reset_noise=0.0)
    robot, guard = MujocoRobot(), Guard(GuardConfig())
    robot.release()
    for number, action in enumerate(jumps()):
        env.step(action[None])
        targets = JointTargets(
            seq=number,
            stamp=0.0,
            position=h1.action_map("stance").target(action),
            velocity=np.zeros(19),
            stiffness=h1.STIFFNESS.copy(),
            damping=h1.DAMPING.copy(),
            torque=np.zeros(19),
        )
        for _ in range(10):
            robot.write(guard.apply(targets, robot.read(), h1.PHYSICS_DT))
    assert guard.counts["rate"] > 5 * STEPS, "the limits were met"
    np.testing.assert_allclose(env.qpos[0], robot.data.qpos, atol=1e-6)
    np.testing.assert_allclose(env.qvel[0], robot.data.qvel, atol=1e-4)
    env.close()


def test_rows_beside_a_guarded_one_are_as_without_it():
    some = np.array([False, True, False])
    alone, beside = (
        H1Env(["walk"] * 3, seed=5, delay_substeps=(0, 6), guarded=mask) for mask in (None, some)
    )
    for action in jumps():
        plain, other = (env.step(np.tile(action, (3, 1))) for env in (alone, beside))
        np.testing.assert_array_equal(plain.obs[~some], other.obs[~some])
        np.testing.assert_array_equal(plain.terminated[~some], other.terminated[~some])
    assert not np.array_equal(plain.obs[1], other.obs[1])


def test_an_episode_ends_where_a_joint_is_too_fast_unless_episodes_do_not_end():
    mask, action = np.array([True, False]), np.zeros((2, 19), np.float32)
    for limits in (Limits(velocity_most=0.0), Limits(velocity_factor=0.0)):
        for terminate in (True, False):
            env = H1Env(["stand"] * 2, seed=0, guarded=mask, limits=limits, terminate=terminate)
            assert env.step(action).terminated.tolist() == [terminate, False]
            env.close()


def test_a_joint_may_be_too_fast_for_as_long_as_a_foot_strikes():
    """Twelve sub-steps in a row are more than one control step: the count goes on."""
    limits = Limits(velocity_factor=0.0, velocity_ticks=12)
    env = H1Env(["stand"], seed=0, guarded=np.ones(1, bool), limits=limits)
    action = np.zeros((1, 19), np.float32)
    assert [bool(env.step(action).terminated[0]) for _ in range(2)] == [False, True]
    env.reset()
    assert not env.step(action).terminated[0], "counted anew"
    env.close()


def test_leaning_too_far_ends_an_episode_too():
    angle = np.array([0.0, 0.99, 1.01])
    leaning = np.stack([np.cos(angle / 2), 0 * angle, np.sin(angle / 2), 0 * angle], axis=1)
    assert Limits().leaning(leaning).tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("count", "share", "taken", "rows"),
    [
        (4, 0.0, [], []),
        (4, 1.0, [], [0, 1, 2, 3]),
        (4, 0.25, [], [3]),
        (4, 0.5, [], [1, 3]),
        (8, 0.25, [1, 3, 5, 7], [2, 6]),
        (4, 1.0, [0], [1, 2, 3]),
    ],
)
def test_a_share_of_rows_is_spread_over_those_that_are_free(count, share, taken, rows):
    besides = np.isin(np.arange(count), taken)
    assert np.flatnonzero(spread(count, share, besides=besides)).tolist() == rows


def masks_of(monkeypatch, module) -> list[dict]:
    """Return what the environments that a module makes from now on are told."""
    told: list[dict] = []

    class Noted(H1Env):
        def __init__(self, tasks, **words):
            told.append(words)
            super().__init__(tasks, **words)

    monkeypatch.setattr(module, "H1Env", Noted)
    return told


def test_a_demonstrator_s_rows_are_nominal_guarded_and_short_as_it_is_told(monkeypatch, tmp_path):
    from training import demonstrator_run

    told = masks_of(monkeypatch, demonstrator_run)
    shares = {"nominal": 0.25, "guarded": 0.5, "episode_steps": (10, 20), "start_noise": 0.03}
    config = DemonstratorConfig(
        **shares, out=str(tmp_path), tasks=("stand", "walk"), envs_per_task=4, capacity=400,
        updates=2, evaluate_every=2, evaluate_episodes=2, random_steps=16, batch=8,
    )  # fmt: skip
    demonstrator_run.Demonstrator(config).run()
    words = told[0]
    assert words["nominal"].tolist() == [True, False, False, False] * 2
    assert words["guarded"].tolist() == [False, False, True, True] * 2
    assert words["max_steps"] == [10, 20, 10, 20] * 2
    assert words["reset_noise"] == 0.03


def test_a_recording_s_rows_are_guarded_as_it_is_told(monkeypatch):
    from training import demonstrate
    from training.contenders import contenders

    told = masks_of(monkeypatch, demonstrate)
    config = demonstrate.DemonstrateConfig(rows=4, steps=3, guarded=0.5, start_noise=0.03)
    demonstrate.record(contenders("home", "stance")[0], "walk", config)
    assert told[0]["guarded"].tolist() == [False, True, False, True]
    assert told[0]["reset_noise"] == 0.03


def test_bad_masks_limits_and_shares_are_refused_with_what_was_given():
    with pytest.raises(ValueError, match=r"guarded has shape \(3,\), expected \(2,\)"):
        H1Env(["stand"] * 2, seed=0, guarded=np.ones(3, bool))
    with pytest.raises(ValueError, match=r"rate must be a number of at least 0, got -1"):
        Limits(rate=-1.0)
    with pytest.raises(ConfigError, match=r"nominal=0.6 and guarded=0.5"):
        DemonstratorConfig(nominal=0.6, guarded=0.5)
