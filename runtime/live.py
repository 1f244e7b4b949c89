"""The live view: a page in the browser that shows a running robot, and commands it with a key.

    python -m runtime.live endpoint=ipc:///tmp/h1

Looking and the e-stop are free to everybody on this machine; tasks, modes, sliders and pushes need
the key in the address that is printed at the start. Bound to loopback; any other address of this
machine only shows and stops. Needs nothing but the base install: no MuJoCo, no ROS.
"""

from __future__ import annotations

import math
import secrets
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

from runtime.cli import parse_or_exit
from runtime.command_link import CommandClient
from runtime.keys import KeyFileError
from runtime.link import LinkError, RobotClient
from runtime.listen import Ending, ListenConfig
from runtime.live_feed import Feed
from runtime.live_server import Action, Answer, LiveServer
from runtime.modes import Mode
from runtime.observation import yaw_of
from runtime.realtime import relax
from runtime.state import Command

STOP_TRIES = 3
BUTTONS = {  # what a button asks for, in turn, until something is granted
    "DAMPING": (Mode.DAMPING,),
    "HOLD": (Mode.HOLD, Mode.RAMP),  # from POLICY at once, from DAMPING by a ramp
    "POLICY": (Mode.POLICY,),
}


@dataclass(frozen=True)
class LiveConfig(ListenConfig):
    """Where to listen, and where to show it."""

    host: str = "127.0.0.1"  # address to bind; not loopback: looking and e-stop only
    port: int = 8700  # of the page; 0, or a taken one: any free one
    rate: float = 20.0  # Hz of the page
    command: bool = True  # false: no page may command, with whatever key


class Person:
    """What the pages ask, passed on: the e-stop to the robot process, the rest to the loop."""

    def __init__(self, watch: RobotClient, stop: RobotClient, loop: CommandClient) -> None:
        self._watch, self._stop, self._loop = watch, stop, loop
        self._lock = threading.Lock()  # task, heading and speed travel together

    def actions(self) -> dict[str, Action]:
        """Return what can be asked, by path."""
        return {
            "/estop": self.estop,
            "/key": lambda body: (True, "this page commands"),
            "/command": self.command,
            "/mode": self.mode,
            "/push": self.push,
        }

    def estop(self, body: dict[str, Any]) -> Answer:
        """Stop the robot, whoever asks."""
        said = ""
        for _ in range(STOP_TRIES):
            granted, said = self._stop.request_mode(Mode.ESTOP)
            if granted:
                return True, "ESTOP: the robot process damps"
        return False, f"NOT CONFIRMED, use the hardware stop: {said}"

    def command(self, body: dict[str, Any]) -> Answer:
        """Change task, heading (rad) or speed (m/s); what is not given stays."""
        unknown = sorted(set(body) - {"task", "heading", "speed"})
        if unknown or not body:
            raise ValueError(f"expected some of task, heading, speed, not {unknown}")
        with self._lock:
            now = self._loop.status()
            if not now.granted:
                return False, now.reason
            heading = _number(body.get("heading", now.heading), math.tau)
            speed = _number(body.get("speed", now.velocity[0]), 5.0)
            task = str(body.get("task", now.task))
            answer = self._loop.command(
                Command(task, heading, (speed, now.velocity[1], now.velocity[2]))
            )
        return answer.granted, answer.reason

    def mode(self, body: dict[str, Any]) -> Answer:
        """Ask for a mode by its name."""
        name = str(body["mode"])
        if name not in BUTTONS:
            raise ValueError(f"mode {name}; there are {sorted(BUTTONS)}")
        granted, said = False, ""
        for mode in BUTTONS[name]:
            answer = self._loop.request_mode(mode)
            granted, said = answer.granted, answer.reason
            if granted:
                break
        return granted, said

    def push(self, body: dict[str, Any]) -> Answer:
        """Push a simulated torso: `angle` rad left of where it faces, `newton`, `seconds`."""
        newton, seconds = _number(body["newton"], 2000.0), _number(body["seconds"], 2.0)
        reading = self._watch.reading()
        facing = 0.0 if reading is None else float(yaw_of(reading.state.orientation))
        angle = facing + _number(body["angle"], math.tau)
        force = (newton * math.cos(angle), newton * math.sin(angle), 0.0)
        answer = self._loop.push(force, seconds)
        return answer.granted, answer.reason


def _number(value: Any, most: float) -> float:
    number = float(value)
    if not abs(number) <= most:
        raise ValueError(f"{value}: expected a number of at most {most:.4g}")
    return number


def is_loopback(host: str) -> bool:
    """True if only this machine can reach that address."""
    return host in ("localhost", "::1") or host.startswith("127.")


def open_server(config: LiveConfig, feed: Feed, person: Person) -> LiveServer:
    """Bind the page's server; a taken port gives way to a free one."""
    key = secrets.token_urlsafe(18) if config.command and is_loopback(config.host) else ""
    for port in (config.port, 0):
        try:
            return LiveServer((config.host, port), feed, person.actions(), key=key)
        except OSError as error:
            problem = error
    raise LinkError(f"cannot bind {config.host}:{config.port}: {problem.strerror}")


def announce(server: LiveServer) -> str:
    """Return where the page is, for people; a line that starts with 'live view'."""
    host, port = server.server_address[0], server.server_address[1]
    place = f"http://{f'[{host!s}]' if ':' in str(host) else host}:{port}/"
    if server.key:
        return f"live view: {place}#key={server.key}  (without the key: look and e-stop only)"
    return f"live view: {place}  (look and e-stop only)"


def main() -> None:
    """Serve pages until a signal, the robot process's end, or the parent's."""
    config = parse_or_exit(LiveConfig(), sys.argv[1:], "runtime.live", __doc__ or "")
    if not (0 <= config.port < 65536 and 1.0 <= config.rate <= 50.0):
        sys.exit("runtime.live: expected port 0..65535 and rate 1..50 Hz")
    relax()
    ending = Ending(config.parent)
    try:
        watch = RobotClient(config.endpoint, "live view", key_dir=config.keys)
        stop = RobotClient(config.endpoint, "live view: e-stop", key_dir=config.keys)
        loop = CommandClient(config.endpoint, key_dir=config.keys)
        feed = Feed(watch, loop, config.rate)
        server = open_server(config, feed, Person(watch, stop, loop))
    except (LinkError, KeyFileError) as error:
        sys.exit(f"runtime.live: {error}")
    feed.start()
    threading.Thread(target=server.serve_forever, daemon=True, name="http").start()
    print(announce(server), flush=True)
    while not ending:
        time.sleep(0.1)
    feed.stop()
    server.shutdown()
    server.server_close()
    for client in (watch, stop, loop):
        client.close()


if __name__ == "__main__":
    main()
