"""Rewards as formulas: closed forms worked out here, not in the code under test."""

import numpy as np
import pytest

from training import rewards, tasks
from training.rewards import Readings


def readings(rows=1, **changes):
    """A robot that stands perfectly still, upright and without effort."""
    values = {
        "qpos": np.tile([0, 0, 0.98, 1, 0, 0, 0, *[0.0] * 19], (rows, 1)),
        "qvel": np.zeros((rows, 25)),
        "com_velocity": np.zeros((rows, 3)),
        "head_height": np.full(rows, 1.68),
        "upright": np.ones(rows),
        "torque": np.zeros((rows, 19)),
        "imu": np.tile([0.0, 0.0, 1.26], (rows, 1)),
        "feet_height": np.full((rows, 2), 0.02),
        "hand": np.tile([0.33, 0.21, 1.08], (rows, 1)),
        "scene": np.tile([0.0, 0.0, 1.0], (rows, 1)),
        "touching": np.zeros(rows, bool),
        "goal": np.tile([1.0, 1.0, 1.0], (rows, 1)),
        "stage": np.zeros(rows, np.int64),
    }
    return Readings(**{**values, **changes})


def test_standing_perfectly_still_earns_one_and_walking_rewards_one_sixth_of_it():
    assert rewards.stand(readings())[0] == pytest.approx([1.0])
    assert rewards.walk(readings())[0] == pytest.approx([1 / 6])
    assert rewards.run(readings())[0] == pytest.approx([1 / 6])


@pytest.mark.parametrize(
    ("speed", "walking", "running"),
    [(-1.0, 1 / 6, 1 / 6), (0.5, 3.5 / 6, 1.5 / 6), (1.0, 1.0, 2 / 6), (7.0, 1.0, 1.0)],
)
def test_move_grows_linearly_from_one_sixth_to_one_at_the_target_speed(speed, walking, running):
    moving = readings(com_velocity=np.array([[speed, 0.3, 0.0]]))
    assert rewards.walk(moving)[0] == pytest.approx([walking])
    assert rewards.run(moving)[0] == pytest.approx([running])


def test_a_head_one_margin_too_low_leaves_a_tenth_of_standing():
    low = readings(head_height=np.array([1.65 - 0.4125]))
    assert rewards.stand(low)[1]["standing"] == pytest.approx([0.1])


@pytest.mark.parametrize(("cosine", "expected"), [(0.9, 1.0), (0.0, 1 - 0.9 / 1.9), (-1.0, 0.0)])
def test_upright_falls_linearly_below_the_bound(cosine, expected):
    tilted = readings(upright=np.array([cosine]))
    assert rewards.stand(tilted)[1]["upright"] == pytest.approx([expected])


def test_only_torques_below_ten_newton_metres_count_as_small():
    torque = np.zeros((3, 19))
    torque[1] = 5.0
    torque[2] = -200.0
    expected = [1.0, (4 + 0.75) / 5, 0.8]
    assert rewards.small_control(torque) == pytest.approx(expected)


def test_drifting_at_two_metres_per_second_in_one_direction_costs_45_percent():
    drifting = readings(com_velocity=np.array([[0.0, -2.0, 9.0]]))
    assert rewards.stand(drifting)[0] == pytest.approx([(1 + 0.1) / 2])


def wild(rows, seed):
    """Readings of robots in any state whatever."""
    generator = np.random.default_rng(seed)
    return readings(
        rows,
        qpos=generator.normal(size=(rows, 26)),
        qvel=generator.normal(size=(rows, 25)),
        com_velocity=generator.normal(size=(rows, 3)) * 4,
        head_height=generator.normal(size=rows) * 3,
        upright=generator.uniform(-1, 1, rows),
        torque=generator.normal(size=(rows, 19)) * 40,
        imu=generator.normal(size=(rows, 3)),
        feet_height=generator.uniform(0, 1, (rows, 2)),
        hand=generator.normal(size=(rows, 3)),
        scene=generator.uniform(-1, 1, (rows, 3)),
        touching=generator.random(rows) < 0.5,
        goal=generator.normal(size=(rows, 3)),
        stage=generator.integers(0, 5, rows),
    )


LOWEST_PELVIS = {  # m; the published rules
    "stand": 0.2, "walk": 0.2, "run": 0.2, "hurdle": 0.2, "maze": 0.2, "sit_simple": 0.5,
    "sit_hard": 0.5, "pole": 0.5, "balance_simple": 0.8, "balance_hard": 0.8,
}  # fmt: skip


@pytest.mark.parametrize("name", tasks.TASKS)
def test_a_pelvis_below_its_tasks_limit_is_a_fall_and_some_tasks_have_none(name):
    heights = readings(rows=3)
    limit = LOWEST_PELVIS.get(name)
    heights.qpos[:, 2] = [(limit or 0.1) - 0.01, limit or 0.1, 0.98]
    assert tasks.task(name).terminated(heights).tolist() == [limit is not None, False, False]


def test_stair_and_slide_end_when_the_torso_lies():
    lying = readings(rows=2, upright=np.array([0.09, 0.1]))
    assert tasks.task("stair").terminated(lying).tolist() == [True, False]
    assert tasks.task("slide").terminated(lying).tolist() == [True, False]


def test_balancing_ends_at_a_contact_that_counts():
    touching = readings(rows=2, touching=np.array([True, False]))
    assert tasks.task("balance_hard").terminated(touching).tolist() == [True, False]


@pytest.mark.parametrize("name", tasks.TASKS)
def test_rows_do_not_see_each_other(name):
    many, task = wild(6, seed=0), tasks.task(name)
    together = task.reward(many)[0]
    for row in range(6):
        one = Readings(**{key: value[row : row + 1] for key, value in vars(many).items()})
        assert task.reward(one)[0][0] == together[row]


@pytest.mark.parametrize("name", sorted(set(tasks.TASKS) - {"reach", "maze"}))
def test_rewards_lie_between_zero_and_one_whatever_the_robot_does(name):
    reward = tasks.task(name).reward(wild(500, seed=1))[0]
    assert (reward >= 0).all()
    assert (reward <= 1).all()


def test_a_contact_leaves_a_tenth_of_hurdle_and_pole_and_nothing_of_it_to_others():
    touching = readings(rows=2, touching=np.array([True, False]))
    for name in ("hurdle", "pole"):
        reward = tasks.task(name).reward(touching)[0]
        assert reward[0] == pytest.approx(0.1 * reward[1])
    assert rewards.stand(touching)[0] == pytest.approx([1.0, 1.0])


def test_half_of_pole_is_for_standing():
    assert rewards.pole(readings())[0] == pytest.approx([0.5 + 0.5 / 6])


def test_climbing_looks_at_the_head_above_the_lower_of_the_feet_each_on_its_own():
    crouched = readings(head_height=np.array([1.2]), feet_height=np.array([[0.0, 0.45]]))
    assert rewards.climb(crouched)[1]["standing"] == pytest.approx([0.1])


def test_crawling_pays_all_face_down_low_and_fast_and_nothing_beside_the_tunnel():
    low = readings(
        rows=2,
        head_height=np.array([0.7, 0.7]),
        imu=np.array([[0, 1.0, 0.8], [0, 1.01, 0.8]]),
        com_velocity=np.array([[1.0, 0, 0], [1.0, 0, 0]]),
    )
    low.qpos[:, 3:7] = [0.75, 0, 0.65, 0]
    assert rewards.crawl(low)[0] == pytest.approx([1.0, 0.0])
    low.qpos[:, 3:7] *= -1  # the same orientation, by another name
    away = 4 * (0.75**2 + 0.65**2)
    assert rewards.crawl(low)[0] == pytest.approx([0.75 + 0.25 * 0.1**away, 0.0])


def test_the_maze_pays_a_hundred_per_checkpoint_once_and_never_goes_back():
    at = readings(rows=3, stage=np.array([0, 1, 4]))
    at.scene[:, :2] = [[0, 0], [0, 0], [6, 6]]
    assert rewards.maze_stage(at).tolist() == [1, 1, 4]
    assert rewards.maze(at)[1]["stage_convert_reward"].tolist() == [100.0, 0.0, 0.0]


def test_the_maze_wants_exactly_two_metres_per_second_towards_the_next_checkpoint():
    speeds = np.array([[2.0, 0, 0], [1.0, 0, 0], [2.5, 0.5, 0]])
    east = readings(rows=3, com_velocity=speeds, stage=np.zeros(3, np.int64))
    east.scene[:, :2] = 1.0
    expected = [(5 * move + 1) / 6 for move in (1.0, 0.0, 0.25)]
    assert rewards.maze(east)[1]["move"] == pytest.approx(expected)


def test_sitting_at_the_right_height_over_the_chair_earns_one():
    seated = readings(
        rows=2, imu=np.array([[0, 0, 1.28]] * 2), scene=np.array([[-0.25, 0.1, 0]] * 2)
    )
    seated.qpos[:, :3] = [[-0.25, 0.1, 0.7], [-0.25, 0.2, 0.7]]
    assert rewards.sit(seated)[0] == pytest.approx([1.0, 0.5 + 0.5 * 0.1])


def test_reach_pays_more_at_one_metre_and_at_five_centimetres_from_the_goal():
    goal = np.array([[1.0, 0, 1]] * 3)
    hand = goal + np.array([[1.1, 0, 0], [0.9, 0, 0], [0.04, 0, 0]])
    at = readings(rows=3, goal=goal, hand=hand, qvel=np.full((3, 25), 2.0))
    assert rewards.reach(at)[0] == pytest.approx(np.array([5.0, 10.0, 20.0]) - 1e-4 * 100)


def test_success_bars_are_the_published_ones():
    bars = {name: task.success_bar for name, task in tasks.TASKS.items()}
    others = {"stand": 800.0, "reach": 12000.0, "maze": 1200.0, "sit_simple": 750.0}
    others |= {"sit_hard": 750.0, "balance_simple": 800.0, "balance_hard": 800.0}
    assert bars == {name: others.get(name, 700.0) for name in tasks.TASKS}


def test_there_are_fourteen_tasks_and_nine_in_the_medium_set():
    assert len(tasks.TASK_SETS["h1_all"]) == 14
    assert len(tasks.TASK_SETS["medium"]) == 9
    assert not {"reach", "sit_hard", "balance_hard"} & set(tasks.TASK_SETS["medium"])


def test_every_task_set_holds_known_tasks():
    for names in tasks.TASK_SETS.values():
        assert set(names) <= set(tasks.TASKS)


def test_an_unknown_task_is_named_with_those_that_exist():
    with pytest.raises(KeyError, match=r"fly.*stand, walk, run"):
        tasks.task("fly")
