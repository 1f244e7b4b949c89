"""A run's owner as a person at the view meets it: wishes in, the lease holder's requests out.

Knows the loop and the robot process's client; knows no socket of the view.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from runtime.link import RobotClient
from runtime.loop import ControlLoop
from runtime.modes import Mode
from runtime.spec import PolicySpec
from runtime.state import Command


@dataclass
class RunDesk:
    """The desk of `runtime/run.py`."""

    loop: ControlLoop
    spec: PolicySpec
    client: RobotClient
    persist: bool = False  # back to POLICY by itself after a fall or a guard's damping; simulation
    attended: bool = False  # somebody is there to reset an ESTOP: the run outlives it

    def command(self, command: Command) -> str:
        """Give the loop a new command, and tell a simulator what to score."""
        granted, reason = self.client.set_task(str(command.task))
        if granted:
            self.loop.command = command
        return "" if granted else reason

    def request(self, mode: Mode) -> tuple[bool, str]:
        """Ask the robot process; what a person stopped stays stopped."""
        granted, reason = self.client.request_mode(mode)
        if granted:
            self.persist = mode is Mode.POLICY and self._simulated()
        return granted, reason

    def push(self, force: np.ndarray, seconds: float) -> tuple[bool, str]:
        """Push the torso; a robot process that is not simulated refuses."""
        return self.client.push(force.tolist(), seconds)

    def _simulated(self) -> bool:
        reading = self.client.reading()
        return reading is not None and bool(np.isfinite(reading.reward_sum))
