"""The lifecycle node that runs a policy on a robot process.

The control loop has a thread of its own (`runtime.loop`); the executor only carries messages,
services and parameters, and publishes what the loop left behind. Safety is not here: it lives in
the robot process, which outlives this one.
"""

from __future__ import annotations

import json
import math
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Twist
from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import get_default_context
from sensor_msgs.msg import Imu, JointState
from std_msgs.msg import Float64, String
from std_srvs.srv import Trigger

from ezm_runtime import convert, report
from ezm_runtime.describe import NODE_NAME
from ezm_runtime.graph import LATCHED, SENSOR, make_executor
from ezm_runtime.lifeline import alive
from ezm_runtime.parameters import PARAMETERS
from runtime.link import LinkError, Reading, RobotClient
from runtime.loop import ControlLoop, Tick
from runtime.modes import Mode
from runtime.observation import task_index
from runtime.policy import Policy, PolicyError, SpecError, load_policy
from runtime.realtime import REST, ask_for_realtime
from runtime.state import Command

OK, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class PolicyNode(LifecycleNode):
    """Configure: load the policy, find the robot. Activate: take command, run the loop."""

    def __init__(self, **arguments) -> None:
        super().__init__(NODE_NAME, **arguments)
        for name, (default, text, _) in PARAMETERS.items():
            self.declare_parameter(name, default, ParameterDescriptor(description=text))
        self.add_on_set_parameters_callback(self._on_parameters)
        self.phase = "unconfigured"
        self.signals: list[int] = []  # received by the process
        self.ended = ""  # why the process should end, once it should
        self.policy: Policy | None = None
        self.client: RobotClient | None = None
        self.loop: ControlLoop | None = None
        self._wanted: tuple[str, float] = (self._get("task"), self._get("heading"))
        self._turn, self._turn_until = 0.0, 0.0  # rad/s, monotonic s
        self._history: deque[Tick] = deque(maxlen=50)
        self._counting = False
        self._persist = False  # simulation: back to POLICY after the guard has damped the robot
        self._state_out = self.create_publisher(String, "~/state", LATCHED)
        self._health_out = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._joints_out = self.create_lifecycle_publisher(JointState, "/joint_states", SENSOR)
        self._imu_out = self.create_lifecycle_publisher(Imu, "/imu/data", SENSOR)
        self._targets_out = self.create_lifecycle_publisher(JointState, "~/joint_targets", SENSOR)
        self.create_subscription(String, "~/task", self._on_task, 1)
        self.create_subscription(Float64, "~/heading", self._on_heading, 1)
        self.create_subscription(Twist, "/cmd_vel", self._on_velocity, 1)
        for name, modes in (
            ("estop", (Mode.ESTOP,)),
            ("reset_estop", (Mode.DAMPING,)),
            ("start_policy", (Mode.POLICY,)),
            ("hold", (Mode.HOLD, Mode.RAMP)),  # from POLICY at once, from DAMPING by a ramp
        ):
            self.create_service(Trigger, f"~/{name}", self._asks_for(name, modes))
        self.create_timer(1.0 / self._get("state_rate"), self._report)
        self.create_timer(1.0, self._diagnose)
        self._stream = None

    # transitions

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the policy, find the robot process; refuse with a sentence."""
        try:
            self.policy = load_policy(self._get("policy"), engine=self._get("engine"))
            task_index(self._wanted[0], self.policy.spec)
            name, keys = self.get_fully_qualified_name(), self._get("keys")
            self.client = RobotClient(self._get("endpoint"), name, key_dir=keys)
            reading = self._first_reading(self.client, 5.0)
            if self.policy.spec.sim_only and not np.isfinite(reading.state.base_position).all():
                raise SpecError(f"the policy needs {list(self.policy.spec.sim_only)}: not measured")
        except (PolicyError, SpecError, LinkError) as error:
            self.get_logger().error(f"not configured: {error}")
            self.close()
            return FAILURE
        self.get_logger().info(f"policy '{self.policy.spec.name}' at {self._get('endpoint')}")
        self.phase = "inactive"
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Take command of the robot and run the loop; refuse if somebody else commands it."""
        assert self.client is not None and self.policy is not None
        granted, reason = self.client.acquire()
        if granted:
            granted, reason = self.client.set_task(self._wanted[0])
        if not granted:
            self.get_logger().error(f"not activated: {reason}")
            self.client.release()
            return FAILURE
        self.loop = ControlLoop(self.policy, self.client, Command(*self._wanted))
        self.loop.history = self._history
        self._history.clear()
        self._counting = False
        self.loop.start()
        self._stream = self.create_timer(0.5 * self.policy.spec.control_dt, self._publish)
        self.phase = "active"
        if self._get("autostart"):
            granted, reason = self.client.request_mode(Mode.POLICY)
            self._persist = granted
            if not granted:
                self.get_logger().error(f"no autostart: {reason}")
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give the robot back, damped."""
        self._let_go()
        self.phase = "inactive"
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget policy and robot."""
        self.close()
        return OK

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give the robot back from whatever state, and end the process."""
        self.close()
        self.phase, self.ended = "finalized", self.ended or "shut down"
        return OK

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give the robot back; the node can be configured again."""
        self.close()
        return OK

    def _first_reading(self, client: RobotClient, timeout: float) -> Reading:
        """Wait for the robot process; a signal ends the wait."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                return client.wait(0.2)
            except LinkError:
                if self.signals or time.monotonic() > deadline:
                    raise

    def _let_go(self) -> None:
        self._persist = False
        if self._stream is not None:
            self.destroy_timer(self._stream)
            self._stream = None
        if self.loop is not None:
            self.loop.stop()
            self.loop = None
            if self.client is not None:
                self.client.release()  # damps the robot, and leaves an ESTOP latched

    def close(self) -> None:
        self._let_go()
        if self.client is not None:
            self.client.close()
        self.client = self.policy = None
        self.phase = "unconfigured"

    # what comes in

    def _get(self, name: str) -> Any:
        return self.get_parameter(name).value

    def _asks_for(self, name: str, modes: tuple[Mode, ...]) -> Callable:
        def answer(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            response.success, response.message = False, f"{name}: the node is {self.phase}"
            if self.client is not None:
                for mode in modes:
                    response.success, response.message = self.client.request_mode(mode)
                    if response.success:
                        self._persist = mode is Mode.POLICY and self._get("autostart")
                        break
            self.get_logger().info(f"{name}: {'done' if response.success else response.message}")
            return response

        return answer

    def _on_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        for item in parameters:
            fixed = item.name in PARAMETERS and PARAMETERS[item.name][2]
            if fixed and self.phase != "unconfigured":
                return SetParametersResult(
                    successful=False, reason=f"'{item.name}' is fixed while {self.phase}"
                )
            said = ""
            if item.name == "task":
                said = self._task(str(item.value))
            elif item.name == "heading":
                said = self._head(float(item.value or 0.0))
            if said:
                return SetParametersResult(successful=False, reason=said)
        return SetParametersResult(successful=True)

    def _task(self, task: str) -> str:
        """Change the task; return why not, or nothing."""
        if self.policy is not None:
            try:
                task_index(task, self.policy.spec)
            except SpecError as error:
                self.get_logger().error(str(error))
                return str(error)
        self._set(task, self._wanted[1])
        if self.client is not None and self.phase == "active":
            granted, reason = self.client.set_task(task)
            return "" if granted else reason
        return ""

    def _head(self, heading: float) -> str:
        """Change the heading, rad; return why not, or nothing."""
        if not math.isfinite(heading):
            return f"heading must be a finite angle in rad, got {heading}"
        self._set(self._wanted[0], math.remainder(heading, math.tau))
        return ""

    def _on_task(self, message: String) -> None:
        self._task(message.data)

    def _on_heading(self, message: Float64) -> None:
        self._head(message.data)

    def _on_velocity(self, message: Twist) -> None:
        self._turn = message.angular.z if math.isfinite(message.angular.z) else 0.0
        self._turn_until = time.monotonic() + self._get("cmd_vel_timeout")

    def _set(self, task: str, heading: float) -> None:
        self._wanted = (task, heading)
        if self.loop is not None:
            self.loop.command = Command(task, heading)

    # what goes out

    def _publish(self) -> None:
        """Publish what the loop read and sent since the last time, oldest first."""
        loop, history = self.loop, self._history
        while loop is not None and history:
            when, reading, targets = history.popleft()
            if reading.mode is Mode.POLICY and not self._counting:
                loop.reset_stats()  # what is reported is the policy's time, not the way to it
                self._counting = True
            age = time.monotonic() - when
            stamp = convert.time_message(self.get_clock().now().nanoseconds * 1e-9 - age)
            self._joints_out.publish(convert.joint_state_message(reading.state, stamp))
            self._imu_out.publish(convert.imu_message(reading.state, stamp))
            if targets is not None:
                self._targets_out.publish(convert.targets_message(targets, stamp))
            if self._turn and time.monotonic() < self._turn_until:
                self._head(self._wanted[1] + self._turn * loop.period)

    def _report(self) -> None:
        """Publish ~/state; end if the robot process, the loop or the parent has."""
        client = self.client
        reading = client.reading() if client is not None else None
        record = report.state_record(self.phase, reading, self.loop, self._wanted)
        self._state_out.publish(String(data=json.dumps(record)))
        if reading is not None and reading.age > self._get("robot_timeout"):
            self.ended = f"no word from the robot process for {reading.age:.1f} s"
        if client and reading and self._persist and reading.goal is Mode.DAMPING:
            self.get_logger().warning(f"damped ({reading.reason}; {reading.fault}): starting again")
            client.request_mode(Mode.POLICY)
        if self.loop is not None and self.loop.error:
            self.ended = f"the control loop ended: {self.loop.error}"
        parent = self._get("parent")
        if parent and not alive(parent):
            self.ended = f"parent process {parent} is gone"

    def _diagnose(self) -> None:
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        reading = self.client.reading() if self.client is not None else None
        message.status = report.diagnostics(self.get_name(), reading, self.loop, self.policy)
        self._health_out.publish(message)


def main(args: list[str] | None = None) -> None:
    """Run the node until a signal, its parent's end, or the robot's."""
    ask_for_realtime(REST)  # before any thread is made: they inherit it
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    context = get_default_context()
    node = PolicyNode()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, frame: node.signals.append(received))
    executor = make_executor()
    executor.add_node(node)
    try:
        while context.ok() and not node.signals and not node.ended:
            executor.spin_once(timeout_sec=0.1)
        if node.ended:
            node.get_logger().warning(f"ending: {node.ended}")
    finally:
        node.close()
        executor.remove_node(node)
        node.destroy_node()
        context.try_shutdown()
    sys.exit(0 if node.signals or node.ended == "shut down" else 1)


if __name__ == "__main__":
    main()
