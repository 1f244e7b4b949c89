"""What comes to the policy node: parameters, ~/task, ~/heading, /cmd_vel, and the five services.

Everything ends in a wish for the control loop or a request to the robot process. Knows messages and
the node; decides nothing about safety.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from geometry_msgs.msg import Twist
from rcl_interfaces.msg import SetParametersResult
from rclpy.parameter import Parameter
from std_msgs.msg import Float64, String
from std_srvs.srv import Trigger

from ezm_runtime.graph import SENSOR
from ezm_runtime.parameters import PARAMETERS
from ezm_runtime.wishes import Wishes
from runtime.modes import Mode
from runtime.policy import SpecError
from runtime.spoken import task_of

if TYPE_CHECKING:
    from ezm_runtime.policy_node import PolicyNode

SERVICES = {  # each asks for the first of its modes that is granted
    "start": (Mode.POLICY,),
    "stop": (Mode.DAMPING,),
    "hold": (Mode.HOLD, Mode.RAMP),  # from POLICY at once, from DAMPING by a ramp
    "estop": (Mode.ESTOP,),
    "reset": (Mode.DAMPING,),  # the only way out of ESTOP
}


class Inbox:
    """The node's subscriptions, services and parameter callback."""

    def __init__(self, node: PolicyNode) -> None:
        self.node = node
        self.wishes = Wishes(node.get("task"), node.get("heading"), node.get("cmd_vel_timeout"))
        node.add_on_set_parameters_callback(self._on_parameters)
        node.create_subscription(String, "~/task", self._on_task, 1)
        node.create_subscription(Float64, "~/heading", self._on_heading, SENSOR)
        node.create_subscription(Twist, "/cmd_vel", self._on_velocity, SENSOR)
        for name, modes in SERVICES.items():
            node.create_service(Trigger, f"~/{name}", self._asks_for(name, modes))

    def wish(self, dt: float) -> None:
        """Hand the loop what is wished now; `dt` s of turning have passed."""
        command = self.wishes.step(time.monotonic(), dt)
        if self.node.loop is not None:
            self.node.loop.command = command

    def _asks_for(self, name: str, modes: tuple[Mode, ...]) -> Callable:
        def answer(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            response.success, response.message = self.ask(name, modes)
            said = "done" if response.success else response.message
            self.node.get_logger().info(f"{name}: {said}")
            return response

        return answer

    def ask(self, name: str, modes: tuple[Mode, ...]) -> tuple[bool, str]:
        """Ask the robot process for the first of the modes that is granted."""
        node = self.node
        if node.client is None:
            return False, f"{name}: the node is {node.phase}"
        said = ""
        for mode in modes:
            granted, said = node.client.request_mode(mode)
            if granted:
                node.persist = mode is Mode.POLICY and node.get("autostart")
                return True, said
        return False, said

    def _on_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        for item in parameters:
            said = self._refusal(item.name, item.value)
            if said:
                return SetParametersResult(successful=False, reason=said)
        return SetParametersResult(successful=True)

    def _refusal(self, name: str, value: object) -> str:
        """Take a parameter over; return why not, or nothing."""
        known = PARAMETERS.get(name)
        if known is None:
            return ""  # ROS's own
        if known.fixed and self.node.phase != "unconfigured":
            return f"'{name}' is fixed while {self.node.phase}"
        said = known.refusal(name, value)
        if said:
            return said
        if name == "task":
            return self.choose(str(value))
        if name == "heading" and isinstance(value, float):
            return self.wishes.face(value)
        if name == "cmd_vel_timeout" and isinstance(value, float):
            self.wishes.timeout = value
        return ""

    def choose(self, said: str) -> str:
        """Change the task to the one that was named or described; return why not, or nothing."""
        node, task = self.node, said
        if node.policy is not None:
            try:
                task = task_of(said, node.policy.spec, node.get("phrases"))
            except SpecError as error:
                node.get_logger().error(str(error))
                return str(error)
            if task != said:
                node.get_logger().info(f"'{said}' is taken for {task}")
        self.wishes.task = task
        self.wish(0.0)
        if node.client is not None and node.phase == "active":
            granted, reason = node.client.set_task(task)
            return "" if granted else reason
        return ""

    def _on_task(self, message: String) -> None:
        self.choose(message.data)

    def _on_heading(self, message: Float64) -> None:
        self._complain(self.wishes.face(message.data))

    def _on_velocity(self, message: Twist) -> None:
        velocity = (message.linear.x, message.linear.y, message.angular.z)
        self._complain(self.wishes.move(velocity, time.monotonic()))

    def _complain(self, said: str) -> None:
        if said:
            self.node.get_logger().warning(said, throttle_duration_sec=1.0)
