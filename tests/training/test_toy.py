"""The point mass of the studies: its physics, its best policy, and who may know the goal."""

import numpy as np
import pytest

from training.toy import (
    EPISODE,
    EVEN,
    GOALS,
    SPEED,
    TOYS,
    UNEVEN,
    WIDTHS,
    PointMass,
    instructions,
    perfect,
    returns,
    rotation,
)


def test_actuators_turn_and_keep_lengths_but_are_not_the_axes():
    turn = rotation()
    assert turn @ turn.T == pytest.approx(np.eye(3), abs=1e-12)
    assert np.abs(turn - np.eye(3)).max() > 0.5


def test_an_actuator_at_full_pull_moves_the_point_by_the_speed_along_its_axis():
    env = PointMass(["centre"] * 3, seed=0)
    env.reset()
    env.position[:] = 0.0
    step = env.step(np.eye(3, dtype=np.float32))
    assert step.obs == pytest.approx(SPEED * rotation(), abs=1e-6)


def test_the_reward_is_one_at_the_goal_and_zero_a_width_away():
    env = PointMass(["right"] * 3, seed=0, widths={"right": 0.8})
    env.reset()
    env.position[:] = GOALS["right"] - np.array([[0.0, 0, 0], [0.4, 0, 0], [0.8, 0, 0]])
    step = env.step(np.zeros((3, 3), np.float32))
    assert step.reward == pytest.approx([1.0, 0.5, 0.0], abs=1e-6)


def test_the_observation_does_not_tell_the_goal():
    one, other = (PointMass([name] * 4, seed=3).reset() for name in ("left", "right"))
    assert np.array_equal(one, other)


def test_an_episode_ends_by_its_limit_and_by_the_edge_only_if_asked():
    for terminate in (False, True):
        env = PointMass(["centre"], seed=0, terminate=terminate, max_steps=EPISODE)
        env.reset()
        ends = []
        for _ in range(EPISODE):
            step = env.step(np.ones((1, 3), np.float32))
            ends.append((bool(step.terminated[0]), bool(step.truncated[0])))
        assert any(t for t, _ in ends) is terminate
        assert [late for _, late in ends] == [False] * (EPISODE - 1) + [True]


def test_the_perfect_policy_reaches_the_goal_and_stays_there():
    env = PointMass(list(GOALS), seed=1)
    seen = env.reset()
    for _ in range(EPISODE):
        action = perfect(seen, env.goal)
        assert np.abs(action).max() <= 1.0 + 1e-9
        seen = env.step(action).obs
    assert seen == pytest.approx(env.goal, abs=1e-5)


@pytest.mark.parametrize("widths", [EVEN, UNEVEN])
def test_the_perfect_policy_earns_most_of_an_episode_and_random_actions_little(widths):
    for name in GOALS:
        worst, best = returns(name, widths, episodes=40)
        assert 20.0 < best <= EPISODE
        assert 0.0 <= worst < 0.7 * best


def test_the_uneven_suite_has_tasks_that_random_actions_hardly_meet():
    earned = [returns(name, UNEVEN, episodes=40)[0] for name in GOALS]
    assert max(earned) > 15.0
    assert sorted(earned)[:3][-1] < 1.5


def test_every_third_of_the_tasks_spans_the_field():
    names = list(GOALS)
    for start in (0, 3, 6):
        goals = np.array([GOALS[name] for name in names[start : start + 3]])
        assert (np.ptp(goals[:, :2], axis=0) > 0.5).all()


def test_every_task_has_instructions_and_every_preset_its_widths():
    texts = instructions()
    assert set(texts) == set(GOALS)
    every = [p for parts in texts.values() for split in parts.values() for p in split]
    assert len(set(every)) == len(every)
    assert set(WIDTHS) == set(TOYS)


def test_an_unknown_task_is_refused_with_those_that_exist():
    with pytest.raises(ValueError, match=r"unknown toy tasks \['middle'\]; there are \['top_left'"):
        PointMass(["middle"], seed=0)
