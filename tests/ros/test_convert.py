"""Messages and runtime types say the same thing, whatever order the joints come in."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="the ROS wheels are not installed")

from builtin_interfaces.msg import Time
from sensor_msgs.msg import JointState

from ezm_runtime import convert
from runtime.h1 import JOINT_NAMES
from runtime.state import JointTargets, RobotState


def some_state(seed: int = 0) -> RobotState:
    rng = np.random.default_rng(seed)
    quaternion = rng.normal(size=4)
    return RobotState(
        stamp=12.25,
        orientation=quaternion / np.linalg.norm(quaternion),
        angular_velocity=rng.normal(size=3),
        joint_position=rng.normal(size=19),
        joint_velocity=rng.normal(size=19),
        joint_torque=rng.normal(size=19),
    )


def permuted(message: JointState, order: np.ndarray) -> JointState:
    return JointState(
        name=[message.name[i] for i in order],
        position=[message.position[i] for i in order],
        velocity=[message.velocity[i] for i in order],
        effort=[message.effort[i] for i in order],
    )


def test_a_message_with_permuted_joints_gives_the_same_state():
    state = some_state()
    message = convert.joint_state_message(state, Time())
    shuffled = permuted(message, np.random.default_rng(3).permutation(19))
    assert list(shuffled.name) != list(message.name)
    position, velocity, effort = convert.joint_rows(shuffled)
    np.testing.assert_array_equal(position, state.joint_position)
    np.testing.assert_array_equal(velocity, state.joint_velocity)
    np.testing.assert_array_equal(effort, state.joint_torque)


def test_state_survives_the_way_out_and_back_in():
    state = some_state(5)
    stamp = convert.time_message(state.stamp)
    back = convert.robot_state(
        convert.joint_state_message(state, stamp), convert.imu_message(state, stamp)
    )
    np.testing.assert_array_equal(back.joint_position, state.joint_position)
    np.testing.assert_allclose(back.orientation, state.orientation, atol=1e-15)
    np.testing.assert_allclose(back.angular_velocity, state.angular_velocity, atol=1e-14)
    assert back.stamp == state.stamp
    assert np.isnan(back.base_position).all()


def test_imu_is_the_torso_s_with_its_quaternion_as_x_y_z_w():
    state = some_state()
    state.orientation = np.array([0.1, 0.2, 0.3, 0.4])  # w x y z
    waist = JOINT_NAMES.index("torso")
    state.joint_position[waist] = state.joint_velocity[waist] = 0.0
    message = convert.imu_message(state, Time())
    q = message.orientation
    np.testing.assert_allclose((q.x, q.y, q.z, q.w), (0.2, 0.3, 0.4, 0.1), atol=1e-15)
    assert message.header.frame_id == "torso_link"
    state.joint_position[waist], state.joint_velocity[waist] = np.pi, 0.5
    state.angular_velocity = np.array([1.0, 2.0, 3.0])
    rate = convert.imu_message(state, Time()).angular_velocity
    np.testing.assert_allclose((rate.x, rate.y, rate.z), (-1.0, -2.0, 3.5), atol=1e-12)


def test_odometry_says_the_place_in_the_world_and_the_motion_in_the_pelvis_s_own_axes():
    state = some_state()
    half = np.sqrt(0.5)
    state.orientation = np.array([half, 0.0, 0.0, half])  # turned left by 90 degrees
    state.base_position = np.array([1.0, 2.0, 0.9])
    state.base_linear_velocity = np.array([0.0, 3.0, 0.5])  # world: along its own x axis
    message = convert.odometry_message(state, Time())
    place, moving = message.pose.pose.position, message.twist.twist.linear
    assert (place.x, place.y, place.z) == (1.0, 2.0, 0.9)
    np.testing.assert_allclose((moving.x, moving.y, moving.z), (3.0, 0.0, 0.5), atol=1e-12)
    assert (message.header.frame_id, message.child_frame_id) == ("odom", "pelvis")


def test_unitree_spelling_and_extra_joints_are_understood():
    names = ["left_thumb", *(f"{name}_joint" for name in reversed(JOINT_NAMES))]
    values = [99.0, *(float(i) for i in reversed(range(19)))]
    position, velocity, _ = convert.joint_rows(JointState(name=names, position=values))
    np.testing.assert_array_equal(position, np.arange(19))
    assert np.isnan(velocity).all()


@pytest.mark.parametrize(
    ("names", "values", "said"),
    [
        (JOINT_NAMES[1:], 18, "left_hip_yaw"),
        ((*JOINT_NAMES, "torso"), 20, "twice"),
        ((*JOINT_NAMES, "torso_joint"), 20, "twice"),
        (JOINT_NAMES, 18, "18 values for 19"),
    ],
)
def test_a_message_that_lacks_repeats_or_cuts_joints_is_refused(names, values, said):
    with pytest.raises(convert.ConvertError, match=said):
        convert.joint_rows(JointState(name=list(names), position=[0.0] * values))


def test_targets_are_named_and_in_robot_order():
    rows = np.arange(19.0)
    targets = JointTargets(
        seq=1, stamp=0.0, position=rows, stiffness=rows, damping=rows, torque=-rows
    )
    message = convert.targets_message(targets, Time())
    assert tuple(message.name) == JOINT_NAMES
    np.testing.assert_array_equal(message.position, rows)
    np.testing.assert_array_equal(message.effort, -rows)


@pytest.mark.parametrize("seconds", [0.0, 1.5, 1e9 + 0.1, 3.9999999999])
def test_stamps_are_within_a_microsecond_and_never_a_full_second_of_nanoseconds(seconds):
    stamp = convert.time_message(seconds)
    assert 0 <= stamp.nanosec < 1_000_000_000
    assert stamp.sec + stamp.nanosec * 1e-9 == pytest.approx(seconds, abs=1e-6)
