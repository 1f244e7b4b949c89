"""The H1's double: a process that is, on the network, an H1 in low-level mode. MuJoCo inside.

    python -m runtime.h1_double interface=lo domain=1 motion=ai
    python runtime/run.py robot=unitree server=interface=lo,domain=1,motion=release

It speaks CycloneDDS 0.10: rt/lowstate with CRC and tick, rt/lowcmd, the motion switcher. It hangs
until told otherwise; words on stdin, one a line: lower, lift, press NAME …, silent 0|1, frozen 0|1,
heat JOINT DEGREES, motion NAME, quit. A line of JSON a second says how it is; so does the last one.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import json
import queue
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from runtime import h1
from runtime.cli import parse_or_exit
from runtime.double_body import Body, BodyConfig
from runtime.realtime import relax
from runtime.robot import RobotError
from runtime.server import Stopping

DT = h1.PHYSICS_DT


@dataclass(frozen=True)
class DoubleConfig:
    """Where the double lives and what it is like."""

    interface: str = "lo"  # network interface that the bridge is on
    domain: int = 1  # DDS domain; a robot is on 0
    motion: str = "ai"  # the motion program that is active at the start; empty: none
    hanging: bool = True  # else it is let go at once
    duration: float = 0.0  # s, then it ends; 0: never
    parent: int = 0  # end when this process is gone
    status: float = 1.0  # s between two lines of status; 0: none
    body: BodyConfig = field(default_factory=BodyConfig)


class MotionService:
    """The robot's own motion program and the service that starts and ends it.

    While a program is active it writes commands, as a real one does.
    """

    def __init__(self, participant: Any, name: str) -> None:
        from runtime import unitree_api as api

        self._api, self._participant = api, participant
        self._reader, self._writer = api.serving_ends(participant, api.SERVICE)
        self._commands: Any = None
        self.calls: list[int] = []
        self.name = ""
        self.select(name)

    def select(self, name: str) -> None:
        """Make a program active, or none."""
        from runtime.unitree_dds import COMMANDS, writer
        from runtime.unitree_idl import LowCmd

        self.name = name
        if not name:
            self._commands = None
        elif self._commands is None:
            self._commands = writer(self._participant, COMMANDS, LowCmd)

    def serve(self) -> None:
        """Answer what was asked."""
        for request in self._reader.take(4):
            if not isinstance(request, self._api.Request):
                continue
            identity, code, data = request.header.identity, 0, ""
            self.calls.append(identity.api_id)
            if identity.api_id == self._api.CHECK_MODE:
                data = json.dumps({"form": "0", "name": self.name})
            elif identity.api_id == self._api.RELEASE_MODE:
                self.select("")
            elif identity.api_id == self._api.SELECT_MODE:
                self.select(str(json.loads(request.parameter or "{}").get("name", "")))
            else:
                code = 3203  # not implemented
            header = self._api.ResponseHeader(identity, self._api.Status(code))
            self._writer.write(self._api.Response(header, data, []))


class Double:
    """The process: DDS around a body."""

    def __init__(self, config: DoubleConfig) -> None:
        from runtime import unitree_dds as dds
        from runtime.unitree_idl import LowCmd, LowState

        self.config, self.body, self._lowstate = config, Body(config.body), LowState
        self._participant = dds.join(config.interface, config.domain)
        self._states = dds.writer(self._participant, dds.STATES, LowState)
        # its own motion program's commands are the program's business
        self._commands = dds.foreign(self._participant, dds.COMMANDS, LowCmd, depth=8)
        self.service = MotionService(self._participant, config.motion)
        self.late = 0  # ticks that came too late and were made up for in simulated time
        if not config.hanging:
            self.body.robot.release()

    def tick(self, now: float, ticks: int) -> None:
        """Obey, move, tell."""
        for sample in self._commands.take(8):
            if hasattr(sample, "raw"):  # a writer's farewell is no command
                self.body.command(sample.raw, now)
        for payload in self.body.step(now, ticks):
            self._states.write(self._lowstate.deserialize(payload))

    def obey(self, line: str) -> None:
        """Do what a line on stdin says; raise ValueError if it says nothing known."""
        verb, *words = line.split()
        body = self.body
        if verb == "lower":
            body.robot.release()
        elif verb == "lift":
            body.robot.catch()
        elif verb == "press":
            body.frame.press(*words)
        elif verb in ("silent", "frozen") and words in (["0"], ["1"]):
            setattr(body, verb, words == ["1"])
        elif verb == "heat" and len(words) == 2 and words[0] in h1.MOTOR_INDEX:
            body.frame.record["motor"]["temperature"][h1.MOTOR_INDEX[words[0]]] = int(words[1])
        elif verb == "motion" and len(words) <= 1:
            self.service.select(words[0] if words else "")
        else:
            raise ValueError(f"'{line}' is not understood; see --help")

    def report(self, seconds: float) -> dict[str, Any]:
        """Return how the double is."""
        body, data = self.body, self.body.robot.data
        return {
            "seconds": round(seconds, 2),
            "height": round(float(data.qpos[2]), 4),  # m
            "lowest": round(body.lowest, 4),
            "speed": round(float(np.abs(data.qvel[6:25]).max()), 3),  # rad/s, the fastest joint
            "stiff": round(float(body.drives.targets(0.0).stiffness.max()), 1),  # N m / rad
            "damped": round(float(body.drives.targets(0.0).damping.max()), 1),
            "commands": body.drives.obeyed,
            "refused": body.drives.refused,
            "motion": self.service.name,
            "late": self.late,
        }


def _listen(lines: queue.Queue[str]) -> None:
    for line in sys.stdin:
        if line.strip():
            lines.put(line.strip())


def run(double: Double, stopping: Stopping) -> dict[str, Any]:
    """Tick at 500 Hz on absolute deadlines until told to end; return the last report."""
    config, lines = double.config, queue.Queue[str]()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    begin = deadline = time.monotonic()
    told = 0.0
    while True:
        now = time.monotonic()
        ticks = 1 + max(0, int((now - deadline) / DT))
        double.late += ticks - 1
        deadline += ticks * DT
        double.tick(now, ticks)
        if (now - begin) * 50.0 >= told:  # fifty times a second
            told += 1.0
            double.service.serve()
            while not lines.empty():
                line = lines.get()
                if line == "quit":
                    return double.report(now - begin)
                try:
                    double.obey(line)
                except ValueError as error:
                    print(f"h1_double: {error}", file=sys.stderr, flush=True)
            if config.status and told % round(50.0 * config.status) == 1.0:
                print(json.dumps(double.report(now - begin)), flush=True)
            if stopping() or 0.0 < config.duration <= now - begin:
                return double.report(now - begin)
        pause = deadline - time.monotonic()
        if pause > 0.0:
            time.sleep(pause)


def main() -> None:
    """Be an H1 until told to end."""
    config = parse_or_exit(DoubleConfig(), sys.argv[1:], "runtime.h1_double", __doc__ or "")
    stopping = Stopping(config.parent)
    relax()
    try:
        double = Double(config)
    except ImportError as error:
        sys.exit(f"runtime.h1_double: needs CycloneDDS 0.10 (tools/make_cyclonedds.sh): {error}")
    except RobotError as error:
        sys.exit(f"runtime.h1_double: {error}")
    print(json.dumps(run(double, stopping)), flush=True)


if __name__ == "__main__":
    main()
