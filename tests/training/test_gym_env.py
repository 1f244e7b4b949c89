"""The single view of the environment, as Gymnasium and HumanoidBench want it."""

from pathlib import Path

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from training.gym_env import H1Gym

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "humanoidbench_h1.npz")


@pytest.mark.filterwarnings("ignore:.*Box observation space")  # unbounded, as the benchmark's
@pytest.mark.parametrize("task", ["stand", "run"])
def test_gymnasiums_own_checker_is_content(task):
    check_env(H1Gym(task), skip_render_check=True)


def test_reset_with_the_benchmarks_seeds_gives_its_observations():
    env = H1Gym("walk")
    for seed, expected in zip(GOLDEN["walk/reset_seed"], GOLDEN["walk/reset_obs"], strict=True):
        obs, info = env.reset(seed=int(seed))
        np.testing.assert_allclose(obs, expected, atol=1e-7)
        assert info == {}


def test_a_thousand_steps_truncate_and_a_fall_terminates():
    env = H1Gym("stand", max_steps=7, terminate=False)
    env.reset(seed=0)
    flags = [env.step(np.zeros(19, dtype=np.float32))[2:4] for _ in range(7)]
    assert flags == [(False, False)] * 6 + [(False, True)]
    falling = H1Gym("stand")
    falling.reset(seed=0)
    generator = np.random.default_rng(0)
    lasted = 0
    while not falling.step(generator.uniform(-1, 1, 19).astype(np.float32))[2]:
        lasted += 1
    assert 15 < lasted < 150
