"""What the policy node tells: control ticks as streams, its state latched, its health at 1 Hz.

Knows messages and publishers; the node owns the time and what is told.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from nav_msgs.msg import Odometry
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import Imu, JointState
from std_msgs.msg import String

from ezm_runtime import convert
from ezm_runtime.graph import LATCHED, SENSOR
from runtime.state import JointTargets, RobotState


class Outlets:
    """The node's publishers. The streams are silent while the node is not active."""

    def __init__(self, node: LifecycleNode) -> None:
        self._state = node.create_publisher(String, "~/state", LATCHED)
        self._health = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._joints = node.create_lifecycle_publisher(JointState, "/joint_states", SENSOR)
        self._imu = node.create_lifecycle_publisher(Imu, "/imu/data", SENSOR)
        self._targets = node.create_lifecycle_publisher(JointState, "~/joint_targets", SENSOR)
        self._odometry = node.create_lifecycle_publisher(Odometry, "/odom", SENSOR)

    def tick(self, state: RobotState, targets: JointTargets | None, stamp: Time) -> None:
        """Tell one control tick: what was read and what was sent."""
        self._joints.publish(convert.joint_state_message(state, stamp))
        self._imu.publish(convert.imu_message(state, stamp))
        if targets is not None:
            self._targets.publish(convert.targets_message(targets, stamp))
        if np.isfinite(state.base_position).all():  # a simulator knows; a robot does not
            self._odometry.publish(convert.odometry_message(state, stamp))

    def state(self, record: dict[str, Any]) -> None:
        """Tell ~/state; who comes later gets the last one."""
        self._state.publish(String(data=json.dumps(record)))

    def health(self, lines: list[DiagnosticStatus], stamp: Time) -> None:
        """Tell /diagnostics."""
        message = DiagnosticArray(status=lines)
        message.header.stamp = stamp
        self._health.publish(message)
