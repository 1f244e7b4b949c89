"""The robot process: reads, guards and writes 500 times a second, whatever the commander does.

    python -m runtime.server robot=mujoco endpoint=ipc:///tmp/h1 task=stand

Modes and guard live here, with the writer, and outlive the policy. Ends by a signal (a terminal
that is gone sends one too), or when the process `parent` is gone, and damps before it ends. Knows
no policy and no ROS.
"""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from runtime import h1
from runtime.cli import ConfigError, parse_or_exit
from runtime.guard import GuardConfig
from runtime.keys import KeyFileError
from runtime.lifeline import Lifeline
from runtime.link import LinkError
from runtime.modes import ModeConfig
from runtime.realtime import ROBOT, Granted, ask_for_realtime, frozen_heap, relax
from runtime.robot import Robot, RobotError
from runtime.robot_server import DT, RobotServer
from runtime.server_link import RobotServerLink
from runtime.state import JointTargets


@dataclass(frozen=True)
class ServerConfig:
    """Everything the robot process can be told; see `base_config` for each robot's defaults."""

    robot: str = "mujoco"  # or unitree
    endpoint: str = "ipc:///tmp/ezm_h1"  # ZeroMQ address to bind; beyond loopback only with keys
    keys: str = ""  # directory of CURVE keys, for an endpoint that others can reach
    task: str = "stand"  # what a simulator scores
    parent: int = 0  # end when this process is gone
    exit_damping: float = 3.0  # s of damping before the process ends
    realtime: bool = True  # ask for SCHED_FIFO and locked memory
    core: int = -1  # the core to run on; -1: any
    seed: int = 0  # of the simulated start noise
    noise: float = 0.0  # simulated start noise, as the benchmark's 0.01
    fall_height: float = 0.4  # m of the pelvis
    interface: str = "eth0"  # the real robot's network
    domain: int = 0  # the real robot's DDS domain
    motion: str = "check"  # the real robot's own motion program: check | release | ignore
    modes: ModeConfig = field(default_factory=ModeConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)

    def __post_init__(self) -> None:
        """Refuse an end that never comes."""
        if not 0.0 <= self.exit_damping < math.inf:
            raise ValueError(
                f"exit_damping must be a time of at least 0 s, got {self.exit_damping}"
            )


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


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
        try:
            from runtime.mujoco_robot import MujocoRobot
        except ModuleNotFoundError as error:
            raise RobotError(f"no MuJoCo here ({error}): pip install 'ezm[sim]'") from None
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
            raise RobotError(
                f"robot=unitree needs CycloneDDS 0.10: {error}; tools/make_cyclonedds.sh makes it"
            ) from None
        return UnitreeRobot(config.interface, domain=config.domain, motion=config.motion)
    raise RobotError(f"robot '{config.robot}' unknown; there are ['mujoco', 'unitree']")


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
        server.tick(now, ticks, now - deadline + ticks * DT)
        if end == math.inf and server.seq % 25 == 0:
            reason = stopping()
            if reason:
                server.stop(reason, now)
                end = now + config.exit_damping
        if now >= end:
            return
        pause = deadline - time.monotonic()
        if pause > 0.0:
            time.sleep(pause)


def operate(server: RobotServer, config: ServerConfig, stopping: Any) -> None:
    """Run; whatever comes up in it, in whatever mode, the drives are damped before it goes on."""
    try:
        with frozen_heap():
            run(server, config, stopping)
    except BaseException:
        damp(server.robot, config.exit_damping)
        raise


def damp(robot: Robot, seconds: float) -> None:
    """Write damping for a while after something went wrong, whatever else happens."""
    targets = JointTargets(0, 0.0, h1.DEFAULT_POSE, np.zeros(h1.NUM_JOINTS), h1.DAMPING)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(Exception):  # the next write may get through
            robot.write(targets)
        time.sleep(DT)


class Stopping:
    """Why the process should end, if it should: a signal, or the parent is gone."""

    def __init__(self, parent: int) -> None:
        self.reason = ""
        self._parent = Lifeline(parent)
        for number in SIGNALS:
            signal.signal(number, self._signalled)

    def _signalled(self, number: int, frame: Any) -> None:
        self.reason = signal.Signals(number).name

    def __call__(self) -> str:
        """Return the reason to end, or an empty string."""
        if not self.reason and not self._parent.holds():
            self.reason = "parent gone"
        return self.reason


def main() -> None:
    """Open robot and wire, tick until told to end."""
    words = sys.argv[1:]
    names = [word[6:] for word in words if word.startswith("robot=")]
    robot_name = names[-1] if names else "mujoco"  # the one that counts
    doc = __doc__ or ""
    config = parse_or_exit(base_config(robot_name), words, "runtime.server", doc)
    if config.robot != "mujoco" and (config.modes.autostart or config.modes.auto_reset):
        sys.exit("runtime.server: modes.autostart and modes.auto_reset are for simulation only")
    stopping = Stopping(config.parent)
    realtime = Granted.NOTHING
    if config.realtime:  # before there are sockets: their threads inherit it
        realtime = ask_for_realtime(ROBOT, core=config.core, lock=True)
    else:
        relax()
    try:
        link = RobotServerLink(config.endpoint, key_dir=config.keys)
        robot = open_robot(config)
    except (LinkError, RobotError, KeyFileError, ConfigError) as error:
        sys.exit(f"runtime.server: {error}")
    server = RobotServer(robot, link, config)
    server.realtime = realtime
    try:
        operate(server, config, stopping)
    finally:
        robot.close()
        link.close()
        for when, action, finding in server.guard.record:
            print(f"{when:.3f} s {action.name}: {finding}", file=sys.stderr)


if __name__ == "__main__":
    main()
