"""The left-right symmetry of robot, tasks and features, against the simulator itself."""

import numpy as np
import pytest

from runtime import h1
from training import features, mirror
from training.h1_env import H1Env


@pytest.fixture(scope="module")
def observations():
    env = H1Env(["walk"] * 4, seed=5, action_map="stance")
    rng = np.random.default_rng(0)
    env.reset()
    for _ in range(12):
        obs = env.step(rng.uniform(-1, 1, (4, 19)).astype(np.float32)).obs
    env.close()
    return obs.astype(np.float64)


def test_mirroring_twice_is_nothing(observations):
    joints = np.random.default_rng(0).normal(size=(3, 19))
    np.testing.assert_array_equal(mirror.mirror_joints(mirror.mirror_joints(joints)), joints)
    again = mirror.mirror_observation(mirror.mirror_observation(observations))
    np.testing.assert_array_equal(again, observations)


def test_joint_limits_gains_and_action_maps_are_symmetric():
    low, high = mirror.mirror_joints(h1.JOINT_LOWER), mirror.mirror_joints(h1.JOINT_UPPER)
    np.testing.assert_allclose(np.minimum(low, high), h1.JOINT_LOWER)
    np.testing.assert_allclose(np.maximum(low, high), h1.JOINT_UPPER)
    np.testing.assert_array_equal(h1.STIFFNESS[mirror.JOINT_INDEX], h1.STIFFNESS)
    for action_map in h1.ACTION_MAPS.values():
        np.testing.assert_allclose(mirror.mirror_joints(action_map.offset), action_map.offset)
        np.testing.assert_array_equal(action_map.scale[mirror.JOINT_INDEX], action_map.scale)


def test_the_mirrored_robot_doing_the_mirrored_thing_earns_the_same():
    """A real rollout: one row acts, the other starts mirrored and acts mirrored."""
    env = H1Env(["walk", "walk"], seed=[3, 3], action_map="stance", reset_noise=0.0)
    rng = np.random.default_rng(1)
    total = np.zeros(2)
    for _ in range(10):
        action = rng.uniform(-0.3, 0.3, 19).astype(np.float32)
        step = env.step(np.stack([action, mirror.mirror_joints(action)]))
        total += step.reward
    turned = mirror.mirror_observation(step.obs[0])
    # the meshes of the two sides differ by fractions of a millimetre: close, not equal
    np.testing.assert_allclose(turned[:7], step.obs[1][:7], atol=2e-3)
    np.testing.assert_allclose(total[0], total[1], rtol=1e-3)
    assert np.abs(step.obs[0] - step.obs[1]).max() > 0.05  # they do differ before the mirror
    env.close()


def test_features_of_the_mirror_image_are_the_mirrored_features(observations):
    direct = features.features(mirror.mirror_observation(observations))
    turned = features.features(observations)[:, features.MIRROR_INDEX] * features.MIRROR_SIGN
    np.testing.assert_allclose(direct, turned, atol=1e-6)


def test_features_do_not_know_where_the_robot_is(observations):
    moved = observations.copy()
    moved[:, :2] += [7.0, -3.0]
    np.testing.assert_array_equal(features.features(moved), features.features(observations))


def test_features_of_a_robot_turned_by_yaw_and_velocity_alike_differ_in_the_yaw_only(observations):
    angle = 0.7
    turned = observations.copy()
    w, x, y, z = observations[:, 3:7].T
    c, s = np.cos(angle / 2), np.sin(angle / 2)
    turned[:, 3:7] = np.stack([c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w], axis=1)
    vx, vy = observations[:, 26], observations[:, 27]
    turned[:, 26] = np.cos(angle) * vx - np.sin(angle) * vy
    turned[:, 27] = np.sin(angle) * vx + np.cos(angle) * vy
    before, after = features.features(observations), features.features(turned)
    np.testing.assert_allclose(np.delete(after, [4, 5], 1), np.delete(before, [4, 5], 1), atol=1e-5)
    yaw = np.arctan2(after[:, 4], after[:, 5]) - np.arctan2(before[:, 4], before[:, 5])
    np.testing.assert_allclose(np.angle(np.exp(1j * yaw)), angle, atol=1e-5)


def test_gravity_agrees_with_mujocos_rotation(observations):
    import mujoco

    for row in observations:
        matrix = np.zeros(9)
        mujoco.mju_quat2Mat(matrix, row[3:7] / np.linalg.norm(row[3:7]))
        down = matrix.reshape(3, 3).T @ [0.0, 0.0, -1.0]
        np.testing.assert_allclose(features.features(row[None])[0, 1:4], down, atol=1e-4)


def test_the_body_view_refuses_tasks_with_things():
    with pytest.raises(ValueError, match="hides the things"):
        features.view_size("body", ["reach"])
