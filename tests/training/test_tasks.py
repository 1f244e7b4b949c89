"""Rewards as formulas: closed forms worked out here, not in the code under test."""

import numpy as np
import pytest

from training import tasks
from training.tasks import Readings


def readings(rows=1, **changes):
    """A robot that stands perfectly still, upright and without effort."""
    values = {
        "qpos": np.tile([0, 0, 0.98, 1, 0, 0, 0, *[0.0] * 19], (rows, 1)),
        "qvel": np.zeros((rows, 25)),
        "com_velocity": np.zeros((rows, 3)),
        "head_height": np.full(rows, 1.68),
        "upright": np.ones(rows),
        "torque": np.zeros((rows, 19)),
    }
    return Readings(**{**values, **changes})


def test_standing_perfectly_still_earns_one_and_walking_rewards_one_sixth_of_it():
    assert tasks.stand(readings())[0] == pytest.approx([1.0])
    assert tasks.walk(readings())[0] == pytest.approx([1 / 6])
    assert tasks.run(readings())[0] == pytest.approx([1 / 6])


@pytest.mark.parametrize(
    ("speed", "walking", "running"),
    [(-1.0, 1 / 6, 1 / 6), (0.5, 3.5 / 6, 1.5 / 6), (1.0, 1.0, 2 / 6), (7.0, 1.0, 1.0)],
)
def test_move_grows_linearly_from_one_sixth_to_one_at_the_target_speed(speed, walking, running):
    moving = readings(com_velocity=np.array([[speed, 0.3, 0.0]]))
    assert tasks.walk(moving)[0] == pytest.approx([walking])
    assert tasks.run(moving)[0] == pytest.approx([running])


def test_a_head_one_margin_too_low_leaves_a_tenth_of_standing():
    low = readings(head_height=np.array([1.65 - 0.4125]))
    assert tasks.stand(low)[1]["standing"] == pytest.approx([0.1])


@pytest.mark.parametrize(("cosine", "expected"), [(0.9, 1.0), (0.0, 1 - 0.9 / 1.9), (-1.0, 0.0)])
def test_upright_falls_linearly_below_the_bound(cosine, expected):
    tilted = readings(upright=np.array([cosine]))
    assert tasks.stand(tilted)[1]["upright"] == pytest.approx([expected])


def test_only_torques_below_ten_newton_metres_count_as_small():
    torque = np.zeros((3, 19))
    torque[1] = 5.0
    torque[2] = -200.0
    expected = [1.0, (4 + 0.75) / 5, 0.8]
    assert tasks.small_control(torque) == pytest.approx(expected)


def test_drifting_at_two_metres_per_second_in_one_direction_costs_45_percent():
    drifting = readings(com_velocity=np.array([[0.0, -2.0, 9.0]]))
    assert tasks.stand(drifting)[0] == pytest.approx([(1 + 0.1) / 2])


def test_a_pelvis_below_20_centimetres_is_a_fall():
    heights = readings(rows=3)
    heights.qpos[:, 2] = [0.19, 0.2, 0.98]
    for task in tasks.TASKS.values():
        assert task.terminated(heights).tolist() == [True, False, False]


def test_rows_do_not_see_each_other():
    generator = np.random.default_rng(0)
    many = Readings(
        qpos=generator.normal(size=(6, 26)),
        qvel=generator.normal(size=(6, 25)),
        com_velocity=generator.normal(size=(6, 3)),
        head_height=generator.uniform(1, 2, 6),
        upright=generator.uniform(-1, 1, 6),
        torque=generator.normal(size=(6, 19)) * 8,
    )
    for task in tasks.TASKS.values():
        together = task.reward(many)[0]
        for row in range(6):
            one = Readings(**{key: value[row : row + 1] for key, value in vars(many).items()})
            assert task.reward(one)[0][0] == together[row]


def test_rewards_lie_between_zero_and_one_whatever_the_robot_does():
    generator = np.random.default_rng(1)
    wild = Readings(
        qpos=generator.normal(size=(500, 26)),
        qvel=generator.normal(size=(500, 25)),
        com_velocity=generator.normal(size=(500, 3)) * 20,
        head_height=generator.normal(size=500) * 3,
        upright=generator.uniform(-1, 1, 500),
        torque=generator.normal(size=(500, 19)) * 100,
    )
    for task in tasks.TASKS.values():
        reward = task.reward(wild)[0]
        assert (reward >= 0).all()
        assert (reward <= 1).all()


def test_success_bars_are_the_published_ones():
    bars = {name: task.success_bar for name, task in tasks.TASKS.items()}
    assert bars == {"stand": 800.0, "walk": 700.0, "run": 700.0}


def test_every_task_set_holds_known_tasks():
    for names in tasks.TASK_SETS.values():
        assert set(names) <= set(tasks.TASKS)


def test_an_unknown_task_is_named_with_those_that_exist():
    with pytest.raises(KeyError, match=r"fly.*stand, walk, run"):
        tasks.task("fly")
