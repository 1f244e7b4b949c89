"""What the live view shows: the newest reading and the control loop's books, as JSON messages.

One thread asks the wire a few times a second, however many pages look. Knows no HTTP.
"""

from __future__ import annotations

import json
import math
import threading
import time
from typing import Any

import numpy as np

from runtime import frames
from runtime.command_link import Answer, CommandClient
from runtime.link import Reading, RobotClient

STATUS_PERIOD = 0.5  # s between questions to the control loop
SILENT = 1.0  # s, an older state is no longer the robot's


class Feed:
    """Keeps the newest message; pages wait for the next one."""

    def __init__(self, client: RobotClient, loop: CommandClient, rate: float) -> None:
        self.client, self._loop, self._period = client, loop, 1.0 / rate
        self._new = threading.Condition()
        self._message, self._number = b"{}", 0
        self._status: Answer | None = None
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=target, daemon=True, name=target.__name__)
            for target in (self._follow, self._ask)
        ]

    def start(self) -> None:
        """Run until `stop`."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, and wake who waits."""
        self._stop.set()
        with self._new:
            self._new.notify_all()
        for thread in self._threads:
            thread.join(2.0)

    @property
    def stopped(self) -> bool:
        """True once there will be no more messages."""
        return self._stop.is_set()

    def next(self, after: int, timeout: float) -> tuple[int, bytes]:
        """Return the newest message and its number, waiting for one above `after`."""
        with self._new:
            self._new.wait_for(lambda: self._number > after or self.stopped, timeout)
            return self._number, self._message

    def _follow(self) -> None:
        while not self._stop.wait(self._period):
            message = as_message(self.client.reading(), self._status)
            data = json.dumps(message, allow_nan=False, separators=(",", ":")).encode()
            with self._new:
                self._message, self._number = data, self._number + 1
                self._new.notify_all()

    def _ask(self) -> None:
        while not self._stop.is_set():
            begin = time.monotonic()
            self._status = self._loop.status()
            self._stop.wait(max(0.0, STATUS_PERIOD - (time.monotonic() - begin)))


def as_message(reading: Reading | None, status: Answer | None) -> dict[str, Any]:
    """Return what a page gets; numbers that are not finite are None."""
    message: dict[str, Any] = {"heard": reading is not None and reading.age < SILENT}
    if reading is not None:
        state = reading.state
        speed = math.hypot(*state.base_linear_velocity[:2])
        message |= {
            "mode": reading.mode.name,
            "goal": reading.goal.name,
            "task": reading.task,
            "age": known(reading.age),
            "stamp": known(state.stamp),
            "commander": reading.commander,
            "simulated": math.isfinite(reading.reward_sum) or reading.policy_ticks > 0,
            "falls": reading.falls,
            "reward": known(reading.reward),
            "reward_sum": known(reading.reward_sum),
            "policy_ticks": reading.policy_ticks,
            "speed": known(speed),
            "base": numbers(state.base_position) + numbers(state.orientation),
            "q": numbers(state.joint_position),
            "dq": numbers(state.joint_velocity),
            "tau": numbers(state.joint_torque),
            "target": numbers(reading.target_position),
            "target_age": known(reading.target_age),
            "late_ticks": reading.late_ticks,
            "slipped": reading.slipped,
            "refused": reading.refused,
            "findings": reading.findings,
            "tick_us": known(reading.tick_us),
            "realtime": reading.realtime,
            "reason": reading.reason,
            "fault": reading.fault,
        }
    if status is not None:
        message["loop"] = as_loop(status)
    return message


def as_loop(status: Answer) -> dict[str, Any]:
    """Return the control loop's part of a message."""
    if not status.granted:
        return {"alive": False, "reason": status.reason}
    return {
        "alive": True,
        "policy": status.policy,
        "tasks": status.tasks,
        "task": status.task,
        "heading": known(status.heading),
        "velocity": [known(value) for value in status.velocity],
        "takes_heading": "heading" in status.blocks,
        "takes_speed": "velocity" in status.blocks,
        "hz": known(status.hz),
        "ticks": status.ticks,
        "misses": status.misses,
        "stale": status.stale,
        "bad": status.bad,
        "quantiles": {name: [known(v) for v in row] for name, row in status.quantiles.items()},
        "counts": status.counts,
        "first_us": frames.LATENCY_FIRST,
    }


def known(value: float) -> float | None:
    """Return a number with six digits, None if it is none."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def numbers(values: np.ndarray) -> list[float | None]:
    """Return numbers as JSON can hold them."""
    return [round(value, 4) if math.isfinite(value) else None for value in values.tolist()]
