"""The robot's figures against the ones read from the benchmark's compiled model."""

import json
from pathlib import Path

import numpy as np
import pytest

from runtime import h1

GOLDEN = Path(__file__).parents[1] / "golden"
FIGURES = json.loads((GOLDEN / "h1_figures.json").read_text())
ACTUATORS = FIGURES["actuators"]


def test_joints_come_in_the_order_of_the_benchmarks_actuators():
    assert [entry["joint"] for entry in ACTUATORS] == list(h1.JOINT_NAMES)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (h1.STIFFNESS, [entry["kp"] for entry in ACTUATORS]),
        (h1.DAMPING, [entry["kv"] for entry in ACTUATORS]),
        (h1.TORQUE_LIMIT, [entry["forcerange"][1] for entry in ACTUATORS]),
        (h1.JOINT_LOWER, [entry["ctrlrange"][0] for entry in ACTUATORS]),
        (h1.JOINT_UPPER, [entry["ctrlrange"][1] for entry in ACTUATORS]),
        (h1.DEFAULT_POSE, [FIGURES["keyframe"]["joints"][name] for name in h1.JOINT_NAMES]),
    ],
)
def test_gains_limits_ranges_and_pose_equal_the_figures(ours, theirs):
    assert np.array_equal(ours, theirs)


def test_figures_cannot_be_overwritten():
    with pytest.raises(ValueError, match="read-only"):
        h1.STIFFNESS[0] = 1.0


def test_every_joint_has_its_own_motor_slot_and_slot_9_is_empty():
    assert set(h1.MOTOR_INDEX) == set(h1.JOINT_NAMES)
    assert sorted(h1.MOTOR_INDEX.values()) == [*range(9), *range(10, 20)]


def test_motor_slots_in_joint_order_are_the_sequence_that_robot_wrappers_use():
    # the list that two independent programs for the real H1 carry
    expected = [7, 3, 4, 5, 10, 8, 0, 1, 2, 11, 6, 16, 17, 18, 19, 12, 13, 14, 15]
    assert [h1.MOTOR_INDEX[name] for name in h1.JOINT_NAMES] == expected


def test_benchmark_action_of_the_home_pose_is_the_published_one():
    leg, arm = (0, 0, -0.03351, -0.08225, -0.32374), (0, -0.80290, -0.54783, -0.35233)
    expected = [*leg, *leg, 0, *arm, *(-x for x in arm[:3]), arm[3]]
    action = h1.action_map("benchmark").action(h1.DEFAULT_POSE)
    np.testing.assert_allclose(action, expected, atol=5e-6)


def test_benchmark_ends_are_the_ends_of_the_joint_range():
    to_target = h1.action_map("benchmark").target
    np.testing.assert_allclose(to_target(np.ones(19)), h1.JOINT_UPPER, atol=1e-12)
    np.testing.assert_allclose(to_target(-np.ones(19)), h1.JOINT_LOWER, atol=1e-12)


def test_home_zero_is_the_default_pose_and_equals_home_plus_04_a_of_the_benchmark():
    home, benchmark = h1.action_map("home"), h1.action_map("benchmark")
    assert np.array_equal(home.target(np.zeros(19)), h1.DEFAULT_POSE)
    action = np.random.default_rng(0).uniform(-1, 1, (50, 19))
    through = benchmark.action(h1.DEFAULT_POSE) + 0.4 * action
    np.testing.assert_allclose(home.target(action), benchmark.target(through), atol=1e-12)


@pytest.mark.parametrize("name", sorted(h1.ACTION_MAPS))
def test_targets_stay_in_the_joint_range_and_the_inverse_undoes_the_map(name):
    action_map = h1.action_map(name)
    wild = np.random.default_rng(1).uniform(-9, 9, (100, 19))
    target = action_map.target(wild)
    assert (target >= h1.JOINT_LOWER).all()
    assert (target <= h1.JOINT_UPPER).all()
    inside = np.random.default_rng(2).uniform(h1.JOINT_LOWER, h1.JOINT_UPPER, (100, 19))
    np.testing.assert_allclose(action_map.target(action_map.action(inside)), inside, atol=1e-12)


def test_an_unknown_action_map_is_named_with_those_that_exist():
    with pytest.raises(KeyError, match=r"full.*benchmark, home"):
        h1.action_map("full")
