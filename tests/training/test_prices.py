"""What a gentle demonstrator pays for: the measures, the price list, and net evaluation."""

import numpy as np
import pytest

from runtime import h1
from training.cli import ConfigError
from training.demonstrator import PRESETS, DemonstratorConfig
from training.prices import MEASURES, PricedEnv, measure, price_list


def moved(steps=5):
    env = PricedEnv(["stand", "walk"], seed=0)
    env.charge(np.zeros((2, len(MEASURES)), np.float32))
    for action in np.random.default_rng(0).uniform(-1, 1, (steps, 2, 19)):
        env.step(action.astype(np.float32))
    return env


def test_measures_are_what_their_names_say():
    readings = moved().readings()
    readings.qvel[0, :3] = (-0.3, 0.4, 9.0)
    readings.qvel[0, 6:25] = 0.5 * h1.VELOCITY_LIMIT
    readings.qvel[0, 6 + 10] = -1.3 * h1.VELOCITY_LIMIT[10]
    readings.qpos[0, 3:7] = (np.cos(-0.35), 0, 0, np.sin(-0.35))
    fast, power, forward, sideways, turned = measure(readings)[0]
    assert fast == pytest.approx(0.5**2 / 19, rel=1e-5)
    watts = np.abs(readings.torque[0] * readings.qvel[0, 6:25]).sum()
    assert power == pytest.approx(watts / 1000, rel=1e-5)
    assert (forward, sideways, turned) == pytest.approx((0.3, 0.4, 0.7), rel=1e-5)


def test_only_standing_pays_for_going_forward():
    prices = price_list(["stand", "walk"], 3.0, [1.0, 0.2], 0.5)
    rows = [dict(zip(MEASURES, row, strict=True)) for row in prices.tolist()]
    assert [row["forward"] for row in rows] == [0.5, 0.0]
    assert [row["power"] for row in rows] == pytest.approx([1.0, 0.2])
    assert all(row["fast"] == 3.0 and row["sideways"] == row["turned"] == 0.5 for row in rows)


def test_walk_pays_for_its_haste_where_there_is_a_price_on_it():
    prices = price_list(["stand", "walk", "run"], 3.0, [1.0], 0.5, haste=0.15)
    assert prices[:, MEASURES.index("forward")] == pytest.approx([0.5, 0.15, 0.0])
    assert DemonstratorConfig(tasks=("walk",), haste_penalty=0.15).prices()[0, 2] == np.float32(
        0.15
    )


def test_one_price_serves_all_tasks_and_any_other_number_is_refused():
    assert price_list(["stand", "walk"], 0, [0.7], 0)[:, 1] == pytest.approx([0.7, 0.7])
    with pytest.raises(ConfigError, match="3 prices of power for 2 tasks"):
        price_list(["stand", "walk"], 0, [1, 2, 3], 0)
    with pytest.raises(ConfigError, match="prices of power"):
        DemonstratorConfig(tasks=("walk",), power_share=(1.0, 0.5))


def test_the_default_run_pays_nothing_and_the_steady_one_does():
    assert not DemonstratorConfig().prices().any()
    assert (PRESETS["h1_steady"].prices()[:, 1:2] > 0).all()


def test_a_priced_environment_takes_off_what_it_counts_until_the_episode_ends():
    free, dear = (PricedEnv(["stand", "walk"], seed=3, max_steps=[2, 9]) for _ in range(2))
    prices = np.float32([[0, 2, 0, 0, 0], [0, 0, 0, 0, 5]])
    free.charge(np.zeros_like(prices))
    dear.charge(prices)
    paid = np.zeros(2)
    for step, action in enumerate(np.random.default_rng(1).uniform(-1, 1, (4, 2, 19))):
        one, two = (env.step(action.astype(np.float32)) for env in (free, dear))
        cost = (measure(dear.readings()) * prices).sum(1)
        np.testing.assert_allclose(one.reward - two.reward, cost, rtol=1e-4, atol=1e-6)
        paid += (one.reward - two.reward) * np.array([step < 2, True])
    assert (paid > 0).all()
    np.testing.assert_allclose(dear.paid, paid, rtol=1e-4)
    assert not free.paid.any()
