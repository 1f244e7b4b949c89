"""Fills the state frame of every tick from what the robot process knows, and sends it.

Texts are written only when they change; at 500 Hz that is most of the cost.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from runtime import frames
from runtime.frames import SERVER_STAGES, Kind
from runtime.server_link import RobotServerLink
from runtime.state import JointTargets, RobotState

if TYPE_CHECKING:
    from runtime.robot_server import RobotServer

_LARGEST = 2**32 - 1
STAGE_EVERY = 32  # ticks between two looks at the histograms, one after the other
_STATE = (
    "orientation",
    "angular_velocity",
    "joint_position",
    "joint_velocity",
    "joint_torque",
    "base_position",
    "base_linear_velocity",
)


class StatePublisher:
    """One frame, used again and again."""

    def __init__(self, link: RobotServerLink) -> None:
        self._link = link
        self._frame = frames.blank(Kind.STATE)
        record = self._frame.dtype.names or ()
        self._field = {name: self._frame[name] for name in record}  # views [1, ...]
        self._texts: dict[str, object] = {}
        self._findings = 0

    def publish(
        self, server: RobotServer, state: RobotState, targets: JointTargets, now: float
    ) -> None:
        """Send the state, what was written to the drives, and how the process is doing."""
        field, robot, machine = self._field, server.robot, server.machine
        field["seq"][0], field["stamp"][0] = server.seq, state.stamp
        field["mode"][0], field["goal"][0] = machine.mode, machine.goal
        field["commander"][0] = bool(self._link.commander(now))
        field["realtime"][0] = server.realtime
        field["falls"][0], field["late_ticks"][0] = server.falls, server.late_ticks
        field["refused"][0] = min(self._link.refused, _LARGEST)
        if server.guard.total != self._findings:
            self._findings = server.guard.total
            field["findings"][0] = min(self._findings, _LARGEST)
            field["monitors"][0] = list(server.guard.counts.values())
        if server.seq % STAGE_EVERY == 0:
            stage = server.seq // STAGE_EVERY % len(SERVER_STAGES)
            quantiles = server.stages.histograms[SERVER_STAGES[stage]].quantiles()
            field["stages"][0, stage * len(quantiles) : (stage + 1) * len(quantiles)] = quantiles
        for name in _STATE:
            field[name][0] = getattr(state, name)
        field["target_position"][0] = targets.position
        field["now"][0], field["target_age"][0] = now, now - server.heard
        field["target_seq"][0] = targets.seq
        field["policy_ticks"][0] = getattr(robot, "windows", 0)
        field["reward"][0] = getattr(robot, "reward", math.nan)
        field["reward_sum"][0] = getattr(robot, "reward_sum", math.nan)
        field["slipped"][0] = getattr(robot, "slipped", 0)
        field["tick_us"][0] = server.tick_us
        self._text("task", server.task)
        self._text("reason", machine.reason)
        self._text("fault", server.guard.last)
        self._link.publish(self._frame)

    def _text(self, name: str, value: object) -> None:
        if name not in self._texts or self._texts[name] is not value:
            self._texts[name] = value
            room = self._frame.dtype[name].itemsize
            self._field[name][0] = ("" if value is None else str(value)).encode()[:room]
