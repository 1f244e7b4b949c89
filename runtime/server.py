"""The robot process: reads, guards and writes 500 times a second, whatever the commander does.

    python -m runtime.server robot=mujoco endpoint=ipc:///tmp/h1 task=stand

Modes and guard live here, with the writer, and outlive the policy. Ends by SIGINT or SIGTERM, or
when the process `parent` is gone, and damps before it ends. Knows no policy and no ROS.
"""

from __future__ import annotations

import gc
import math
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from runtime import h1
from runtime.cli import ConfigError, parse_or_exit
from runtime.frames import Verb
from runtime.guard import Guard, GuardConfig
from runtime.keys import KeyFileError
from runtime.link import LinkError
from runtime.modes import STIFF, Mode, ModeConfig, ModeMachine, Setpoints
from runtime.publisher import StatePublisher
from runtime.realtime import ROBOT, ask_for_realtime, relax
from runtime.robot import Robot, RobotError
from runtime.server_link import Request, RobotServerLink
from runtime.state import JointTargets, RobotState

DT = h1.PHYSICS_DT  # s, one tick


@dataclass(frozen=True)
class ServerConfig:
    """Everything the robot process can be told; see `base_config` for each robot's defaults."""

    robot: str = "mujoco"  # or unitree
    endpoint: str = "ipc:///tmp/ezm_h1"
    keys: str = ""  # directory of CURVE keys, for an endpoint that others can reach
    task: str = "stand"  # what a simulator scores
    parent: int = 0  # end when this process is gone
    exit_damping: float = 3.0  # s of damping before the process ends
    realtime: bool = True  # ask for SCHED_FIFO
    seed: int = 0
    noise: float = 0.0  # simulated start noise, as the benchmark's 0.01
    fall_height: float = 0.4  # m of the pelvis
    interface: str = "eth0"  # the real robot's network
    domain: int = 0  # the real robot's DDS domain
    modes: ModeConfig = field(default_factory=ModeConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)


def base_config(robot: str) -> ServerConfig:
    """Return the defaults for a robot: careful ones, unless it is simulated."""
    if robot != "mujoco":
        return ServerConfig(robot=robot)
    return ServerConfig(
        exit_damping=0.2, modes=ModeConfig.simulated(), guard=GuardConfig.simulated()
    )


def open_robot(config: ServerConfig) -> Robot:
    """Open the robot that the configuration names."""
    if config.robot == "mujoco":
        from runtime.mujoco_robot import MujocoRobot

        return MujocoRobot(
            task=config.task,
            fall_height=config.fall_height,
            noise=config.noise,
            seed=config.seed,
        )
    if config.robot == "unitree":
        try:
            from runtime.unitree_robot import UnitreeRobot
        except ImportError as error:
            raise RobotError(f"robot=unitree needs CycloneDDS 0.10 here: {error}") from None
        return UnitreeRobot(config.interface, domain=config.domain)
    raise RobotError(f"robot '{config.robot}' unknown; there are ['mujoco', 'unitree']")


class RobotServer:
    """One tick: serve the wire, read, judge, choose, guard, write, publish."""

    def __init__(self, robot: Robot, link: RobotServerLink, config: ServerConfig) -> None:
        self.robot, self.link = robot, link
        self.machine = ModeMachine(config.modes)
        self.setpoints = Setpoints(config.modes)
        self.guard = Guard(config.guard)
        self.task = config.task
        self.falls = self.late_ticks = self.seq = 0
        self.realtime = self.closing = False
        self._wanted: JointTargets | None = None
        self.heard = -math.inf  # s, when the wanted targets arrived
        self._arrived = False  # in this tick
        self._was_fallen = False
        self._mode = Mode.ZERO_TORQUE
        self.publisher = StatePublisher(link)
        self.tick_us = 0.0

    def tick(self, now: float, ticks: int = 1) -> None:
        """Do everything once; `ticks` periods have passed since the last time."""
        self._serve(now)
        state = self.robot.read()
        age = now - self.heard if self.machine.mode is Mode.POLICY else None
        verdict = self.guard.watch(state, now - state.stamp, age)
        fallen = self._count_fall()
        if self.robot.alarm:
            self.machine.emergency(now, self.robot.alarm)
        ready = self._arrived and self._near(state)
        mode = self.machine.update(now, verdict=verdict, ready=ready, fallen=fallen)
        if mode is not self._mode:
            self._changed(mode)
            state = self.robot.read()  # the support may have moved it
        targets = self.setpoints.targets(mode, now - self.machine.since, state, self._wanted)
        if mode in STIFF:
            targets = self.guard.apply(targets, state, DT * ticks)
        self.robot.write(targets, ticks)
        self.seq += 1
        self.publisher.publish(self, state, targets, now)
        self.tick_us = (time.monotonic() - now) * 1e6

    def stop(self, reason: str) -> None:
        """Go to damping for good: from now on only ESTOP is granted."""
        self.closing = True
        self.machine.stop(time.monotonic(), reason)

    def _serve(self, now: float) -> None:
        self._arrived = False
        for message in self.link.receive(now):
            if isinstance(message, JointTargets):
                if self.guard.admit(message):
                    self._wanted, self.heard, self._arrived = message, now, True
            else:
                granted, reason = self._answer(message, now)
                self.link.reply(message, granted, reason)

    def _answer(self, request: Request, now: float) -> tuple[bool, str]:
        if request.verb is Verb.MODE and request.argument == Mode.ESTOP:
            return self.machine.request(Mode.ESTOP, now)
        if self.closing:
            return False, f"the robot process is ending: {self.machine.reason}"
        if request.verb is Verb.ACQUIRE:
            return self.link.lease(request, now)
        if not self.link.holds(request.peer, now):
            holder = self.link.commander(now)
            who = f"'{holder}' commands this robot" if holder else "acquire the lease first"
            return False, f"{request.verb.name}: {who}"
        if request.verb is Verb.RELEASE:
            self.link.drop()
            self.machine.stop(now, "released")
            return True, ""
        if request.verb is Verb.TASK:
            self.task = request.text
            setattr(self.robot, "task", request.text)  # noqa: B010 a real robot ignores it
            return True, ""
        if request.argument not in Mode._value2member_map_:
            return False, f"mode {request.argument} unknown; there are {[m.name for m in Mode]}"
        return self.machine.request(Mode(request.argument), now)

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
        elif mode is Mode.HOLD and self._mode is Mode.POLICY:
            self.robot.catch()
        if mode not in STIFF:
            self.guard.forget()
        self._mode = mode


def run(server: RobotServer, config: ServerConfig, stopping: Any) -> None:
    """Tick at 500 Hz on absolute deadlines until `stopping()` gives a reason, then damp and end.

    A late wake-up is caught up in simulated time by the robot, never by a burst of ticks.
    """
    deadline, end = time.monotonic(), math.inf
    while True:
        now = time.monotonic()
        ticks = 1 + max(0, int((now - deadline) / DT))
        server.late_ticks += ticks - 1
        deadline += ticks * DT
        server.tick(now, ticks)
        if end == math.inf and server.seq % 25 == 0:
            reason = stopping()
            if reason:
                server.stop(reason)
                end = now + config.exit_damping
        if now >= end:
            return
        pause = deadline - time.monotonic()
        if pause > 0.0:
            time.sleep(pause)


def damp(robot: Robot, seconds: float) -> None:
    """Write damping for a while after something went wrong, whatever else happens."""
    targets = JointTargets(0, 0.0, h1.DEFAULT_POSE, np.zeros(h1.NUM_JOINTS), h1.DAMPING)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        robot.write(targets)
        time.sleep(DT)


class Stopping:
    """Why the process should end, if it should: a signal, or the parent is gone."""

    def __init__(self, parent: int) -> None:
        self.parent, self.reason = parent, ""
        self._is_child = os.getppid() == parent
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._signalled)

    def _signalled(self, number: int, frame: Any) -> None:
        self.reason = signal.Signals(number).name

    def __call__(self) -> str:
        """Return the reason to end, or an empty string."""
        if not self.reason and self.parent:
            here = os.getppid() == self.parent if self._is_child else _exists(self.parent)
            self.reason = "" if here else "parent gone"
        return self.reason


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def main() -> None:
    """Open robot and wire, tick until told to end."""
    words = sys.argv[1:]
    robot_name = next((word[6:] for word in words if word.startswith("robot=")), "mujoco")
    doc = __doc__ or ""
    config = parse_or_exit(base_config(robot_name), words, "runtime.server", doc)
    if config.robot != "mujoco" and (config.modes.autostart or config.modes.auto_reset):
        sys.exit("runtime.server: modes.autostart and modes.auto_reset are for simulation only")
    stopping = Stopping(config.parent)
    realtime = config.realtime and ask_for_realtime(ROBOT)
    if not config.realtime:
        relax()
    try:
        link = RobotServerLink(config.endpoint, key_dir=config.keys)
        robot = open_robot(config)
    except (LinkError, RobotError, KeyFileError, ConfigError) as error:
        sys.exit(f"runtime.server: {error}")
    server = RobotServer(robot, link, config)
    server.realtime = realtime
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        run(server, config, stopping)
    except BaseException:
        damp(robot, config.exit_damping)
        raise
    finally:
        robot.close()
        link.close()


if __name__ == "__main__":
    main()
