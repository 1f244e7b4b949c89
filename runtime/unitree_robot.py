"""The real H1 behind `Robot`: CycloneDDS 0.10.x, rt/lowstate in, rt/lowcmd out.

Messages stay bytes: nothing here builds an object tree per message (see `unitree_frames`). Tested
against a double on loopback, not on a robot. It does not release the motion service: put the robot
into low-level mode with the remote first (gantry, L2+R2); while anybody else publishes commands,
this refuses to start. A drive's own timeout after the last command is unknown: measure it hanging.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import os
import time
from typing import Any

from cyclonedds.builtin import BuiltinDataReader, BuiltinTopicDcpsPublication
from cyclonedds.core import Policy, Qos
from cyclonedds.domain import DomainParticipant
from cyclonedds.pub import DataWriter
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration

from runtime import unitree_frames as frames
from runtime.robot import RobotError
from runtime.state import JointTargets, RobotState
from runtime.unitree_idl import LowCmd, LowState

COMMANDS, STATES = "rt/lowcmd", "rt/lowstate"
STOP_BUTTONS = frozenset({"select", "B"})
DISCOVERY = 0.5  # s in which another commander makes itself known
CHECK_EVERY = 500  # reads between two looks for another commander


_ALIVE = 16  # DDS_IST_ALIVE


def configuration(interface: str) -> str:
    """Return the DDS configuration that binds to one network interface."""
    return (
        '<CycloneDDS><Domain id="any"><General><Interfaces>'
        f'<NetworkInterface name="{interface}" multicast="default"/>'
        "</Interfaces></General></Domain></CycloneDDS>"
    )


def newest_only() -> Qos:
    """Return the quality of service of both topics: best effort to read, the last sample only."""
    return Qos(Policy.Reliability.BestEffort, Policy.History.KeepLast(1))


class UnitreeRobot:
    """The H1 on one network interface."""

    fallen = False  # tilt is the guard's business; nobody measures height here

    def __init__(self, interface: str, *, domain: int = 0, patience: float = 5.0) -> None:
        try:
            os.environ["CYCLONEDDS_URI"] = configuration(interface)
            self._participant = DomainParticipant(domain)
        except Exception as error:  # DDSException, whose text is a number
            raise RobotError(f"CycloneDDS cannot use interface '{interface}': {error}") from None
        reliable = Qos(
            Policy.Reliability.Reliable(duration(milliseconds=1)), Policy.History.KeepLast(1)
        )
        states = Topic(self._participant, STATES, LowState)
        commands = Topic(self._participant, COMMANDS, LowCmd)
        self._reader = DataReader(self._participant, states, qos=newest_only())
        self._publications = BuiltinDataReader(self._participant, BuiltinTopicDcpsPublication)
        self._command = frames.CommandFrame()
        self._state: RobotState | None = None
        self.broken = 0  # states of wrong size or CRC
        self.alarm = ""  # why to stop at once: the remote, a motor, another commander
        self._reads = 0
        self._wait(patience)
        time.sleep(DISCOVERY)
        if self.other_commanders():
            raise RobotError(
                f"somebody else publishes {COMMANDS}: the motion service or another program. "
                "Put the robot into low-level mode with the remote (L2+R2) and end the others first"
            )
        self._writer = DataWriter(self._participant, commands, qos=reliable)

    def read(self) -> RobotState:
        """Return the newest whole state; its stamp tells how old it is."""
        now = time.monotonic()
        self._reads += 1
        if self._reads % CHECK_EVERY == 0 and self.other_commanders():
            self.alarm = f"another publisher on {COMMANDS}"
        for sample in self._reader.take(8):
            payload = getattr(sample, "raw", b"")
            if not frames.state_is_whole(payload):
                self.broken += 1
                continue
            self._state = frames.robot_state(payload, now)
            self._watch(payload)
        assert self._state is not None
        return self._state

    def write(self, targets: JointTargets, ticks: int = 1) -> None:
        """Send the targets; the drives evaluate them until the next ones."""
        self._command.fill(targets)
        self._writer.write(LowCmd.deserialize(self._command.payload()))

    def other_commanders(self) -> int:
        """Return how many writers of rt/lowcmd there are besides this one."""
        own = self._participant.guid
        found = [item for item in self._publications.read(200) if _commands(item)]
        return len([item for item in found if item.participant_key != own])

    def place(self) -> None:
        """The gantry and the people at it do that."""

    def catch(self) -> None:
        """The gantry and the people at it do that."""

    def release(self) -> None:
        """The gantry and the people at it do that."""

    def close(self) -> None:
        """Leave the domain."""
        for name in ("_writer", "_reader", "_publications", "_participant"):
            self.__dict__.pop(name, None)

    def _wait(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            for sample in self._reader.take(1):
                if frames.state_is_whole(getattr(sample, "raw", b"")):
                    self._state = frames.robot_state(sample.raw, time.monotonic())
                    return
                self.broken += 1
            time.sleep(0.01)
        raise RobotError(f"no whole {STATES} within {patience:g} s ({self.broken} broken ones)")

    def _watch(self, payload: bytes) -> None:
        pressed = frames.buttons(payload) & STOP_BUTTONS
        if pressed:
            self.alarm = f"remote: {', '.join(sorted(pressed))}"
        elif hot := frames.motor_faults(payload):
            self.alarm = hot
        elif not self.alarm.startswith("another"):
            self.alarm = ""


def _commands(item: Any) -> bool:
    alive = getattr(item, "sample_info", None)
    gone = alive is not None and int(alive.instance_state) != _ALIVE
    return not gone and getattr(item, "topic_name", "") == COMMANDS
