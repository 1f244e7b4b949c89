"""One tick of the robot process: serve the wire, read, judge, choose, guard, write, publish.

Owns modes and guard. Knows no clock but the one it is given, no policy and no ROS.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from runtime import h1
from runtime.answers import answer
from runtime.frames import SERVER_STAGES
from runtime.guard import Action, Guard
from runtime.histogram import Stages
from runtime.modes import STIFF, Mode, ModeMachine, Setpoints
from runtime.publisher import StatePublisher
from runtime.realtime import Granted
from runtime.robot import Robot
from runtime.server_link import RobotServerLink
from runtime.state import JointTargets, RobotState

if TYPE_CHECKING:
    from runtime.server import ServerConfig

DT = h1.PHYSICS_DT  # s, one tick
HEALTH_EVERY = 10  # ticks between two looks at temperatures and counters
MOST_TICKS = 5  # that the rate limit allows for at once: after a stall nothing jumps


class RobotServer:
    """Modes and guard around one robot and one wire."""

    def __init__(self, robot: Robot, link: RobotServerLink, config: ServerConfig) -> None:
        self.robot, self.link, self.config = robot, link, config
        self.machine = ModeMachine(config.modes)
        self.setpoints = Setpoints(config.modes)
        self.guard = Guard(config.guard)
        self.task = config.task
        self.falls = self.late_ticks = self.seq = 0
        self.realtime = Granted.NOTHING
        self.closing = False
        self.verified = False  # the commander has a policy of our spec version
        self.heard = -math.inf  # s, when the wanted targets arrived
        self.stages = Stages(*SERVER_STAGES)
        self.tick_us = 0.0
        self.publisher = StatePublisher(link)
        self._wanted: JointTargets | None = None  # the newest good ones
        self._used: JointTargets | None = None  # these, unless the guard holds older ones
        self._arrived = False  # in this tick
        self._was_fallen = False
        self._late_run = 0  # deadlines missed one after the other
        self._mode = Mode.ZERO_TORQUE

    def tick(self, now: float, ticks: int = 1, late: float = 0.0) -> None:
        """Do everything once; `ticks` periods have passed, the wake-up came `late` s."""
        clock = time.perf_counter
        begin = clock()
        self.guard.now = now
        self._late_run = self._late_run + ticks - 1 if ticks > 1 else 0
        self._serve(now)
        served = clock()
        state = self.robot.read()
        read = clock()
        mode = self._judge(state, now)
        if mode is not self._mode:
            self._changed(mode)
            state = self.robot.read()  # the support may have moved it
        targets = self.setpoints.targets(mode, now - self.machine.since, state, self._used)
        if mode in STIFF:
            targets = self.guard.apply(targets, state, DT * min(ticks, MOST_TICKS))
            if not targets.finite:  # whatever actions were chosen: never to a drive
                targets = self._nothing_finite(state, now)
        guarded = clock()
        self.robot.write(targets, ticks)
        written = clock()
        self.seq += 1
        self.publisher.publish(self, state, targets, now)
        end = clock()
        self.tick_us = (end - begin) * 1e6
        self._account(
            (
                max(0.0, now - state.stamp),
                served - begin,
                read - served,
                guarded - read,
                written - guarded,
                end - written,
                end - begin,
                late,
            )
        )

    def stop(self, reason: str, now: float) -> None:
        """Go to damping for good: from now on only ESTOP is granted."""
        self.closing = True
        self.machine.stop(now, reason)

    def _serve(self, now: float) -> None:
        self._arrived = False
        for message in self.link.receive(now):
            if isinstance(message, JointTargets):
                if self.guard.admit(message):
                    self._wanted, self.heard, self._arrived = message, now, True
            else:
                granted, reason = answer(self, message, now)
                self.link.reply(message, granted, reason)

    def _judge(self, state: RobotState, now: float) -> Mode:
        """Ask the guard, then the modes; return the mode of this tick."""
        age = now - self.heard if self.machine.mode is Mode.POLICY else None
        look = self.seq % HEALTH_EVERY == 0
        health = getattr(self.robot, "health", None) if look else None
        verdict = self.guard.watch(state, abs(now - state.stamp), age, health, self._late_run)
        if verdict < Action.HOLD or self._used is None:
            self._used = self._wanted
        if self.robot.alarm:
            self.machine.emergency(now, self.robot.alarm)
        fallen = self._count_fall()
        ready = self._arrived and self.verified and self._near(state)
        return self.machine.update(now, verdict=verdict, ready=ready, fallen=fallen)

    def _near(self, state: RobotState) -> bool:
        if self.machine.mode is not Mode.HOLD or self._wanted is None:
            return False
        distance = abs(self._wanted.position - state.joint_position).max()
        return bool(distance <= self.machine.config.entry_distance)

    def _count_fall(self) -> bool:
        fallen = self.robot.fallen
        self.falls += fallen and not self._was_fallen
        self._was_fallen = fallen
        return fallen

    def _changed(self, mode: Mode) -> None:
        if mode is Mode.RAMP:
            self.robot.place()
        elif mode is Mode.POLICY:
            self.robot.release()
            self._used = self._wanted  # never those of an earlier time in POLICY
        elif mode is Mode.HOLD and self._mode is Mode.POLICY:
            self.robot.catch()
        if mode not in STIFF:
            self.guard.forget()
        self._mode = mode

    def _nothing_finite(self, state: RobotState, now: float) -> JointTargets:
        """Latch ESTOP in the middle of a tick; return its targets, which depend on no number."""
        self.machine.emergency(now, "targets that are not finite behind the guard")
        self._changed(Mode.ESTOP)
        return self.setpoints.targets(Mode.ESTOP, 0.0, state, None)

    def _account(self, seconds: tuple[float, ...]) -> None:
        for name, duration in zip(SERVER_STAGES, seconds, strict=True):
            self.stages.histograms[name].add(duration)
