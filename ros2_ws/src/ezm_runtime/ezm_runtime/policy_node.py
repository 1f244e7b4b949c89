"""The lifecycle node that runs a policy on a robot process: `ros2 lifecycle set /ezm_policy …`.

    configure   load and check the policy, find the robot process
    activate    take command (a lease), run the control loop
    deactivate  give the robot back, damped
    cleanup     forget policy and robot

The loop has a thread of its own (`runtime.loop`); the executor only carries messages, services and
parameters. Safety is not here: it lives in the robot process, which outlives this one.
"""

from __future__ import annotations

import signal
import sys
import time
from collections import deque
from typing import Any

import numpy as np
import rclpy
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import get_default_context

from ezm_runtime import convert, report
from ezm_runtime.describe import NODE_NAME
from ezm_runtime.desk import NodeDesk
from ezm_runtime.graph import make_executor
from ezm_runtime.inbox import Inbox
from ezm_runtime.lifeline import alive
from ezm_runtime.outlets import Outlets
from ezm_runtime.parameters import PARAMETERS
from runtime.link import LinkError, Reading, RobotClient
from runtime.loop import ControlLoop, Tick
from runtime.modes import Mode
from runtime.policy import Policy, PolicyError, SpecError, load_policy
from runtime.realtime import REST, ask_for_realtime
from runtime.spoken import phrase_book, task_of
from runtime.tick_link import TickFeed

OK, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class PolicyNode(LifecycleNode):
    """Configure: load the policy, find the robot. Activate: take command, run the loop."""

    def __init__(self, **arguments) -> None:
        super().__init__(NODE_NAME, **arguments)
        for name, item in PARAMETERS.items():
            self.declare_parameter(name, item.default, item.descriptor())
        self.phase = "unconfigured"
        self.signals: list[int] = []  # received by the process
        self.ended = ""  # why the process should end, once it should
        self.policy: Policy | None = None
        self.client: RobotClient | None = None
        self.loop: ControlLoop | None = None
        self.feed: TickFeed | None = None
        self.desk: NodeDesk | None = None  # where the live view's wishes come in
        self._history: deque[Tick] = deque(maxlen=50)
        self._counting = False
        self.persist = False  # simulation: back to POLICY after the guard has damped the robot
        self.outlets = Outlets(self)
        self.inbox = Inbox(self)
        self.create_timer(1.0 / self.get("state_rate"), self._report)
        self.create_timer(1.0, self._diagnose)
        self._stream = None

    # transitions

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the policy, find the robot process; refuse with a sentence."""
        try:
            self.policy = load_policy(self.get("policy"), engine=self.get("engine"))
            way = self.get("phrases")
            phrase_book(self.policy.spec.tasks, way)  # now, not while the loop runs
            self.inbox.wishes.task = task_of(self.inbox.wishes.task, self.policy.spec, way)
            name, keys = self.get_fully_qualified_name(), self.get("keys")
            self.client = RobotClient(self.get("endpoint"), name, key_dir=keys)
            reading = self._first_reading(self.client, 5.0)
            if self.policy.spec.sim_only and not np.isfinite(reading.state.base_position).all():
                raise SpecError(f"the policy needs {list(self.policy.spec.sim_only)}: not measured")
        except (PolicyError, SpecError, LinkError) as error:
            self.get_logger().error(f"not configured: {error}")
            self.close()
            return FAILURE
        self.get_logger().info(f"policy '{self.policy.spec.name}' at {self.get('endpoint')}")
        self.phase = "inactive"
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Take command of the robot and run the loop; refuse if somebody else commands it."""
        assert self.client is not None and self.policy is not None
        granted, reason = self.client.acquire(self.policy.spec)
        if granted:
            granted, reason = self.client.set_task(self.inbox.wishes.task)
        if not granted:
            self.get_logger().error(f"not activated: {reason}")
            self.client.release()
            return FAILURE
        if self.get("record"):
            self.feed = TickFeed(self.get("endpoint"))
        self.loop = ControlLoop(
            self.policy, self.client, self.inbox.wishes.step(time.monotonic(), 0.0)
        )
        self.loop.history = self._history
        self._history.clear()
        self._counting = False
        self.loop.start()
        self.desk = NodeDesk.open(self)
        self._stream = self.create_timer(0.5 * self.policy.spec.control_dt, self._publish)
        self.phase = "active"
        if self.get("autostart"):
            granted, reason = self.client.request_mode(Mode.POLICY)
            self.persist = granted
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
        self.persist = False
        if self._stream is not None:
            self.destroy_timer(self._stream)
            self._stream = None
        if self.desk is not None:
            self.desk.close()
            self.desk = None
        if self.loop is not None:
            self.loop.stop()
            self.loop = None
            if self.feed is not None:
                self.feed.close()
                self.feed = None
            if self.client is not None:
                self.client.release()  # damps the robot, and leaves an ESTOP latched

    def close(self) -> None:
        self._let_go()
        if self.client is not None:
            self.client.close()
        self.client = self.policy = None
        self.phase = "unconfigured"

    def get(self, name: str) -> Any:
        """Return a parameter's value."""
        return self.get_parameter(name).value

    # what goes out

    def _publish(self) -> None:
        """Publish what the loop read and sent since the last time, oldest first."""
        loop, history = self.loop, self._history
        while loop is not None and history:
            tick = history.popleft()
            when, reading, targets = tick[:3]
            if reading.mode is Mode.POLICY and not self._counting:
                loop.reset_stats()  # what is reported is the policy's time, not the way to it
                self._counting = True
            age = time.monotonic() - when
            stamp = convert.time_message(self.get_clock().now().nanoseconds * 1e-9 - age)
            self.outlets.tick(reading.state, targets, stamp)
            if self.feed is not None:
                self.feed.send(tick)
            self.inbox.wish(loop.period)

    def _report(self) -> None:
        """Publish ~/state; end if the robot process, the loop or the parent has."""
        client = self.client
        reading = client.reading() if client is not None else None
        self.outlets.state(report.state_record(self.phase, reading, self.loop, self.inbox.wishes))
        if reading is not None and reading.age > self.get("robot_timeout"):
            self.ended = f"no word from the robot process for {reading.age:.1f} s"
        if client and reading and self.persist and reading.goal is Mode.DAMPING:
            self.get_logger().warning(f"damped ({reading.reason}; {reading.fault}): starting again")
            client.request_mode(Mode.POLICY)
        if self.loop is not None and self.loop.error:
            self.ended = f"the control loop ended: {self.loop.error}"
        parent = self.get("parent")
        if parent and not alive(parent):
            self.ended = f"parent process {parent} is gone"

    def _diagnose(self) -> None:
        reading = self.client.reading() if self.client is not None else None
        lines = report.diagnostics(self.get_name(), reading, self.loop, self.policy)
        self.outlets.health(lines, self.get_clock().now().to_msg())


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
