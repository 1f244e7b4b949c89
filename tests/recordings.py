"""A run in lock-step, recorded: policy, robot process and simulator, without sockets or a clock."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from runtime import recorder
from runtime.frames import Kind
from runtime.modes import Mode
from runtime.mujoco_robot import MujocoRobot
from runtime.policy import load_policy
from runtime.robot_server import RobotServer
from runtime.server import base_config
from runtime.state import Command, JointTargets
from runtime.tick_link import TickFeed
from runtime.ticker import Ticker

DT = 0.002


class Tap:
    """A link without sockets that keeps every state frame; who sends holds the lease."""

    def __init__(self) -> None:
        self.inbox: list[JointTargets] = []
        self.states: list[bytes] = []
        self.refused = 0

    def receive(self, now: float):
        inbox, self.inbox = self.inbox, []
        return iter(inbox)

    def commander(self, now: float) -> str:
        return "tap"

    def publish(self, frame: np.ndarray) -> None:
        self.states.append(frame.tobytes())

    def __getattr__(self, name: str) -> Any:
        return lambda *words, **more: True


class TimedRobot(MujocoRobot):
    """A simulated robot whose states are of the time that the test says it is."""

    now = 100.0

    def read(self):
        return dataclasses.replace(super().read(), stamp=self.now)


def record_run(
    path: Path, policy: Path, seconds: float = 1.0, seed: int = 0, spoil: Callable | None = None
) -> tuple[list[bytes], list[bytes]]:
    """Run policy, server and simulator in lock-step; record what they would have sent."""
    tap: Any = Tap()
    config = dataclasses.replace(base_config("mujoco"), noise=0.01, seed=seed)
    robot = TimedRobot(noise=0.01, seed=seed)
    server = RobotServer(robot, tap, config)
    server.verified = True
    server.machine.request(Mode.POLICY, 100.0)
    ticker = Ticker(load_policy(str(policy)), Command("stand", 0.2))
    sent: list[bytes] = []
    feed: Any = TickFeed.__new__(TickFeed)
    feed._last, feed._socket = (
        0,
        type("S", (), {"send": lambda _, data, flags: sent.append(data)})(),
    )
    last = None
    for step in range(round((seconds + 0.8) / DT)):
        now = robot.now = 100.0 + step * DT
        if step % 10 == 5:
            state = server.robot.read()
            targets = ticker.tick(state, server.machine.mode)
            last = targets or last
            if targets is not None:
                tap.inbox.append(targets)
            reading: Any = type(
                "R", (), {"state": state, "mode": server.machine.mode, "seq": step}
            )()
            feed.send((now, reading, last, ticker.command))
        server.tick(now)
    with_about = {"policy": str(policy), "robot": "mujoco", "server": "", "note": "test"}
    recording = recorder.Recording(path, with_about)
    for kind, frame in ((Kind.STATE, tap.states), (Kind.TICK, sent)):
        for data in frame:
            recording.add(kind, data if spoil is None else spoil(kind, data))
    recording.close()
    return tap.states, sent
