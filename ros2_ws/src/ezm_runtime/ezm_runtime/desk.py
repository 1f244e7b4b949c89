"""What a person at the live view may ask of the policy node: the same as by topics and services.

Runs in the executor; knows the node and the wire of wishes, no ROS message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from runtime.command_link import CommandServer
from runtime.link import LinkError
from runtime.modes import Mode
from runtime.state import Command

if TYPE_CHECKING:
    from ezm_runtime.policy_node import PolicyNode

PERIOD = 0.05  # s


class NodeDesk:
    """Serves wishes while the node is active."""

    def __init__(self, node: PolicyNode) -> None:
        assert node.loop is not None and node.policy is not None
        self.node, self.loop, self.spec = node, node.loop, node.policy.spec
        self._server = CommandServer(node.get("endpoint"), key_dir=node.get("keys"))
        self._timer = node.create_timer(PERIOD, lambda: self._server.serve(self))

    @classmethod
    def open(cls, node: PolicyNode) -> NodeDesk | None:
        """Return a desk, or None with a warning: a robot runs without a view as well."""
        try:
            return cls(node)
        except LinkError as error:
            node.get_logger().warning(f"the live view cannot command: {error}")
            return None

    def command(self, command: Command) -> str:
        """Take a task, a heading and a speed over, as ~/task and ~/heading do."""
        inbox, before = self.node.inbox, self.loop.command
        said = inbox.wishes.face(float(command.heading))
        if not said and command.velocity != before.velocity:
            inbox.wishes.keep(command.velocity)
        if not said and command.task != before.task:
            said = inbox.choose(str(command.task))
        inbox.wish(0.0)
        return said

    def request(self, mode: Mode) -> tuple[bool, str]:
        """Ask the robot process, as the services do."""
        return self.node.inbox.ask(mode.name, (mode,))

    def push(self, force: np.ndarray, seconds: float) -> tuple[bool, str]:
        """Push a simulated robot."""
        client = self.node.client
        return client.push(force.tolist(), seconds) if client else (False, "no robot process")

    def close(self) -> None:
        """Hear no more wishes."""
        self.node.destroy_timer(self._timer)
        self._server.close()
