"""Messages to runtime types and back, by joint name, never by position.

Knows the standard message types and `runtime.state`; needs no ROS graph, no node and no clock.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from nav_msgs.msg import Odometry
from sensor_msgs.msg import Imu, JointState

from runtime.h1 import JOINT_NAMES
from runtime.state import JointTargets, RobotState
from runtime.unitree_frames import pelvis_from_torso, torso_from_pelvis

# REP 103 axes and units. The H1's description calls the base `pelvis` (REP 105's base_link) and the
# body that carries the IMU `torso_link`.
BASE_FRAME, IMU_FRAME, WORLD_FRAME = "pelvis", "torso_link", "odom"
_WAIST = JOINT_NAMES.index("torso")
_UNKNOWN = -1.0  # sensor_msgs: first covariance element of a quantity that is not measured


class ConvertError(ValueError):
    """A message does not say what it must say about this robot's joints."""


def time_message(seconds: float) -> Time:
    """Turn seconds since any epoch into a stamp."""
    whole = math.floor(seconds)
    nanoseconds = min(round((seconds - whole) * 1e9), 999_999_999)
    return Time(sec=int(whole), nanosec=int(nanoseconds))


def joint_state_message(state: RobotState, stamp: Time) -> JointState:
    """Say position (rad), velocity (rad/s) and torque (N m) of every joint."""
    return _joints(state.joint_position, state.joint_velocity, state.joint_torque, stamp)


def imu_message(state: RobotState, stamp: Time) -> Imu:
    """Say what an IMU on the torso reads: orientation (x y z w, world), angular velocity (rad/s).

    The state has the pelvis; the waist joint is between the two.
    """
    waist, rate = float(state.joint_position[_WAIST]), float(state.joint_velocity[_WAIST])
    torso, turning = torso_from_pelvis(state.orientation, state.angular_velocity, waist, rate)
    message = Imu()
    message.header.stamp = stamp
    message.header.frame_id = IMU_FRAME
    w, x, y, z = torso.tolist()
    message.orientation.w = w
    message.orientation.x = x
    message.orientation.y = y
    message.orientation.z = z
    into = message.angular_velocity
    into.x, into.y, into.z = turning.tolist()
    message.linear_acceleration_covariance[0] = _UNKNOWN
    return message


def odometry_message(state: RobotState, stamp: Time) -> Odometry:
    """Say where the pelvis is (m, world) and how it moves (m/s and rad/s, in its own axes)."""
    message = Odometry(child_frame_id=BASE_FRAME)
    message.header.stamp = stamp
    message.header.frame_id = WORLD_FRAME
    place, turn = message.pose.pose.position, message.pose.pose.orientation
    place.x, place.y, place.z = state.base_position.tolist()
    turn.w, turn.x, turn.y, turn.z = state.orientation.tolist()
    moving, turning = message.twist.twist.linear, message.twist.twist.angular
    moving.x, moving.y, moving.z = _into(state.orientation, state.base_linear_velocity).tolist()
    turning.x, turning.y, turning.z = state.angular_velocity.tolist()
    return message


def _into(orientation: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Turn a world vector [3] into the axes of a body with this orientation (w x y z)."""
    w, axis = orientation[0], -orientation[1:]
    aside = 2.0 * np.cross(axis, vector)
    return vector + w * aside + np.cross(axis, aside)


def targets_message(targets: JointTargets, stamp: Time) -> JointState:
    """Say what the drives are asked for: position (rad), velocity, feed-forward torque.

    Gains are not in the message: they are the policy's, fixed in its PolicySpec.
    """
    return _joints(targets.position, targets.velocity, targets.torque, stamp)


def _joints(
    position: np.ndarray, velocity: np.ndarray, torque: np.ndarray, stamp: Time
) -> JointState:
    message = JointState(name=list(JOINT_NAMES))
    message.header.stamp = stamp
    message.header.frame_id = BASE_FRAME
    message.position = position.tolist()
    message.velocity = velocity.tolist()
    message.effort = torque.tolist()
    return message


def joint_order(names: Sequence[str]) -> np.ndarray:
    """Return where each of the robot's joints stands in `names`: `values[order]` is in robot order.

    Unitree's description adds `_joint` to each name; both spellings are understood. Joints that
    are not the H1's (fingers) are left out. Raise ConvertError if one is missing or there twice.
    """
    place: dict[str, int] = {}
    for index, name in enumerate(names):
        plain = name.removesuffix("_joint")
        if plain in place:
            raise ConvertError(f"joint '{plain}' appears twice in {list(names)}")
        place[plain] = index
    missing = [name for name in JOINT_NAMES if name not in place]
    if missing:
        raise ConvertError(f"joints {missing} are missing; the message has {list(names)}")
    return np.array([place[name] for name in JOINT_NAMES])


def joint_rows(message: JointState) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (position, velocity, effort), each [19] in robot order; NaN where not given."""
    order = joint_order(list(message.name))
    position, velocity, effort = (
        _row(values, order, len(message.name), what)
        for what, values in (
            ("position", message.position),
            ("velocity", message.velocity),
            ("effort", message.effort),
        )
    )
    return position, velocity, effort


def _row(values: Sequence[float], order: np.ndarray, count: int, what: str) -> np.ndarray:
    if len(values) == 0:
        return np.full(len(order), np.nan)
    if len(values) != count:
        raise ConvertError(f"{what}: {len(values)} values for {count} joint names")
    return np.asarray(values, np.float64)[order]


def robot_state(joints: JointState, imu: Imu) -> RobotState:
    """Put a joint message and a torso's IMU message together again; base motion is unknown."""
    position, velocity, effort = joint_rows(joints)
    q, rate = imu.orientation, imu.angular_velocity
    pelvis, turning = pelvis_from_torso(
        np.array([q.w, q.x, q.y, q.z]),
        np.array([rate.x, rate.y, rate.z]),
        float(position[_WAIST]),
        float(velocity[_WAIST]),
    )
    return RobotState(
        stamp=joints.header.stamp.sec + joints.header.stamp.nanosec * 1e-9,
        orientation=pelvis,
        angular_velocity=turning,
        joint_position=position,
        joint_velocity=velocity,
        joint_torque=effort,
    )


def diagnostic(
    name: str, level: bytes, message: str, values: dict[str, object]
) -> DiagnosticStatus:
    """Build one line of /diagnostics."""
    pairs = [KeyValue(key=key, value=_text(value)) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, message=message, values=pairs, hardware_id="h1")


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
