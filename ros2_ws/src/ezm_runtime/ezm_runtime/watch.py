"""The other end of the policy node's topics: counts what really flows, and drives its lifecycle.

Used by bringup and by the tests; sees the node only through ROS.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import rclpy
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

from ezm_runtime.describe import NODE_NAME
from ezm_runtime.graph import COUNTED, LATCHED, make_executor

CONFIGURE = Transition.TRANSITION_CONFIGURE
ACTIVATE = Transition.TRANSITION_ACTIVATE
DEACTIVATE = Transition.TRANSITION_DEACTIVATE
CLEANUP = Transition.TRANSITION_CLEANUP
GOAL = {
    CONFIGURE: State.PRIMARY_STATE_INACTIVE,
    ACTIVATE: State.PRIMARY_STATE_ACTIVE,
    DEACTIVATE: State.PRIMARY_STATE_INACTIVE,
    CLEANUP: State.PRIMARY_STATE_UNCONFIGURED,
}


class Flow:
    """How often something arrives."""

    def __init__(self) -> None:
        self.count = 0
        self._first = self._last = 0.0  # monotonic s

    def note(self) -> None:
        """Count one arrival."""
        self._last = time.monotonic()
        if self.count == 0:
            self._first = self._last
        self.count += 1

    @property
    def hz(self) -> float:
        """Arrivals per second between the first and the last."""
        return (self.count - 1) / (self._last - self._first) if self.count > 1 else 0.0


class Watch:
    """A ROS node that listens to the policy node and asks it to change state."""

    def __init__(self, name: str, node_name: str = NODE_NAME) -> None:
        self.node: Node = rclpy.create_node(name)
        self.executor = make_executor()
        self.executor.add_node(self.node)
        self.joints, self.targets = Flow(), Flow()  # since POLICY was reached
        self.joints_total = self.targets_total = 0
        self.record: dict[str, Any] = {}  # the newest ~/state
        self.policy_since: float | None = None  # monotonic s of the first POLICY record
        prefix = f"/{node_name}"
        self.node.create_subscription(JointState, "/joint_states", self._on_joints, COUNTED)
        self.node.create_subscription(
            JointState, f"{prefix}/joint_targets", self._on_targets, COUNTED
        )
        self.node.create_subscription(String, f"{prefix}/state", self._on_state, LATCHED)
        self._change = self.node.create_client(ChangeState, f"{prefix}/change_state")
        self._state = self.node.create_client(GetState, f"{prefix}/get_state")
        self._prefix = prefix

    def spin(self, until: Callable[[], bool], timeout: float) -> bool:
        """Serve ROS until `until()` or the timeout, s; return what `until()` said last."""
        deadline = time.monotonic() + timeout
        while self.node.context.ok() and not until():
            left = deadline - time.monotonic()
            if left <= 0.0:
                break
            self.executor.spin_once(timeout_sec=min(left, 0.05))
        return until()

    def change(self, transition: int, timeout: float, stop: Callable[[], bool]) -> bool:
        """Ask for a transition; return whether it was made before the timeout or `stop()`."""
        deadline = time.monotonic() + timeout
        self.spin(lambda: self._change.service_is_ready() or stop(), timeout)
        if stop() or not self._change.service_is_ready():
            return False
        request = ChangeState.Request(transition=Transition(id=transition))
        future = self._change.call_async(request)
        while not (future.done() or stop()) and time.monotonic() < deadline:
            self.spin(lambda: future.done() or stop(), min(2.0, deadline - time.monotonic()))
            if not future.done() and self._phase() == GOAL[transition]:
                return True  # made, but the answer was lost: a service newly discovered may do that
        answer = future.result() if future.done() else None
        return answer is not None and answer.success

    def _phase(self) -> int:
        """Return the node's lifecycle state, -1 if it does not say."""
        future = self._state.call_async(GetState.Request())
        self.spin(future.done, 1.0)
        answer = future.result() if future.done() else None
        return -1 if answer is None else answer.current_state.id

    def trigger(self, service: str, timeout: float = 5.0) -> tuple[bool, str]:
        """Call one of the node's Trigger services; return (success, message)."""
        client = self.node.create_client(Trigger, f"{self._prefix}/{service}")
        self.spin(client.service_is_ready, timeout)
        future = client.call_async(Trigger.Request())
        self.spin(future.done, timeout)
        answer = future.result() if future.done() else None
        self.node.destroy_client(client)
        return (False, "no answer") if answer is None else (answer.success, answer.message)

    def close(self) -> None:
        """Leave the graph."""
        self.executor.remove_node(self.node)
        self.node.destroy_node()

    @property
    def mode(self) -> str:
        """The robot's mode as last reported."""
        return self.record.get("mode") or "-"

    def _on_joints(self, message: JointState) -> None:
        self.joints_total += 1
        if self.policy_since is not None:
            self.joints.note()

    def _on_targets(self, message: JointState) -> None:
        self.targets_total += 1
        if self.policy_since is not None:
            self.targets.note()

    def _on_state(self, message: String) -> None:
        self.record = json.loads(message.data)
        if self.mode == "POLICY" and self.policy_since is None:
            self.policy_since = time.monotonic()
