"""The commander's end of the wire to the robot process: ZeroMQ, fixed-layout frames.

Two sockets per endpoint: states come by SUB, newest only; targets and requests go by DEALER.
Age is always counted on the receiver's clock. The other end is `server_link.py`.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zmq

from runtime import frames, keys
from runtime.frames import FrameError, Kind, Verb
from runtime.modes import Mode
from runtime.realtime import Granted
from runtime.spec import PolicySpec
from runtime.state import JointTargets, RobotState

REPLY_TIMEOUT = 1.0  # s
TEXT = 64  # characters of a request
_GRANTED = sum(Granted)


class LinkError(RuntimeError):
    """The wire cannot be opened, or the other side does not answer."""


def addresses(endpoint: str) -> tuple[str, str]:
    """Return the (state, command) addresses of an endpoint, or say what an endpoint looks like."""
    scheme, _, rest = endpoint.partition("://")
    if scheme == "ipc" and rest:
        if len(rest) > 90:
            raise LinkError(f"ipc path of {len(rest)} characters: the system allows about 100")
        return f"{endpoint}.state", f"{endpoint}.command"
    host, _, port = rest.rpartition(":")
    if scheme == "tcp" and host and port.isdigit() and 0 < int(port) < 65535:
        return endpoint, f"tcp://{host}:{int(port) + 1}"
    raise LinkError(f"endpoint '{endpoint}': expected ipc:///path/name or tcp://address:port")


def is_private(endpoint: str) -> bool:
    """Return True if only this machine can reach the endpoint."""
    host = endpoint.partition("://")[2].rpartition(":")[0].strip("[]")
    loopback = host in ("localhost", "::1") or host.startswith("127.")
    return endpoint.startswith("ipc://") or loopback


@dataclass(slots=True)
class Reading:
    """The newest state frame, decoded."""

    state: RobotState
    mode: Mode
    goal: Mode
    seq: int
    age: float  # s since it was received, on the receiver's clock
    commander: bool  # somebody holds the lease
    task: str
    falls: int
    reward: float  # of the last 20 ms, HumanoidBench's; simulation only
    reward_sum: float
    policy_ticks: int  # 20 ms windows in that sum
    now: float  # s, the tick's own time, on the clock of `state.stamp`
    target_seq: int  # of the commander's targets that were written; 0: the mode's own
    target_age: float  # s
    target_position: np.ndarray  # [19] rad, as written to the drives after the guard
    late_ticks: int  # 2 ms ticks the robot process missed
    slipped: int  # physics steps real time wanted and simulation skipped
    refused: int  # frames that were no frames, or not the commander's
    findings: int  # guard findings so far
    tick_us: float  # work in the last 2 ms tick
    realtime: Granted  # what the system gave the process
    reason: str  # of the last mode transition
    fault: str  # the guard's last finding
    monitors: np.ndarray  # [16] how often each of `monitors.MONITORS` fired
    stage_us: np.ndarray  # [8, 4] p50, p95, p99, longest of each of `frames.SERVER_STAGES`


def _reading(data: bytes, received: float, now: float) -> Reading:
    head, vectors = frames.unpack_state(data)
    target_position = vectors.pop("target_position")
    monitors, stages = vectors.pop("monitors"), vectors.pop("stages")
    return Reading(
        state=RobotState(stamp=head["stamp"], **vectors),
        mode=Mode(head["mode"]),
        goal=Mode(head["goal"]),
        seq=head["seq"],
        age=now - received,
        commander=bool(head["commander"]),
        task=frames.text(head["task"]),
        falls=head["falls"],
        reward=head["reward"],
        reward_sum=head["reward_sum"],
        policy_ticks=head["policy_ticks"],
        now=head["now"],
        target_seq=head["target_seq"],
        target_age=head["target_age"],
        target_position=target_position,
        late_ticks=head["late_ticks"],
        slipped=head["slipped"],
        refused=head["refused"],
        findings=head["findings"],
        tick_us=head["tick_us"],
        realtime=Granted(head["realtime"] & _GRANTED),
        reason=frames.text(head["reason"]),
        fault=frames.text(head["fault"]),
        monitors=monitors,
        stage_us=stages.reshape(len(frames.SERVER_STAGES), frames.STAGE_QUANTILES),
    )


def _is_state(data: bytes) -> bool:
    try:
        record = frames.decode(data, Kind.STATE)
    except FrameError:
        return False
    return bool(max(record["mode"][0], record["goal"][0]) <= max(Mode))


_TARGET_ROWS = ("position", "velocity", "torque", "stiffness", "damping")


class RobotClient:
    """The commander's or an observer's end. Every method may be called from any thread."""

    def __init__(self, endpoint: str, name: str = "client", *, key_dir: str = "") -> None:
        self.endpoint, self.name = endpoint, name
        state, command = addresses(endpoint)
        self._lock = threading.RLock()
        self._context = zmq.Context()
        self._states = self._context.socket(zmq.SUB)
        self._states.setsockopt(zmq.CONFLATE, 1)
        self._states.setsockopt(zmq.SUBSCRIBE, b"")
        self._commands = self._context.socket(zmq.DEALER)
        self._commands.setsockopt(zmq.SNDHWM, 8)
        for socket, address in ((self._states, state), (self._commands, command)):
            socket.setsockopt(zmq.LINGER, 0)
            if key_dir:
                keys.secure_client(socket, Path(key_dir))
            socket.connect(address)
        self._targets = frames.blank(Kind.TARGETS)
        self._rows = [(name, self._targets[name][0]) for name in _TARGET_ROWS]  # views [19]
        self._newest = b""
        self._received = 0.0
        self._replies: dict[int, tuple[bool, str]] = {}
        self._count = itertools.count(1)
        self._stranger = ""  # what was wrong with an answer that was none

    def reading(self) -> Reading | None:
        """Return the newest reading, or None before the first; never blocks."""
        with self._lock:
            while int(self._states.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                data = self._states.recv(zmq.NOBLOCK)
                if _is_state(data):
                    self._newest, self._received = data, time.monotonic()
            if not self._newest:
                return None
            return _reading(self._newest, self._received, time.monotonic())

    def state(self) -> RobotState | None:
        """Return the newest robot state, or None before the first; never blocks."""
        reading = self.reading()
        return None if reading is None else reading.state

    def wait(self, timeout: float) -> Reading:
        """Wait for a reading not returned before; raise LinkError when none comes in time."""
        before = self._received
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            reading = self.reading()
            if reading is not None and self._received != before:
                return reading
            time.sleep(0.0005)
        raise LinkError(f"no state from the robot process at {self.endpoint} within {timeout:g} s")

    def send_targets(self, targets: JointTargets) -> None:
        """Send targets; they count only while this client holds the lease. Never blocks."""
        with self._lock:
            self._targets["seq"], self._targets["stamp"] = targets.seq, targets.stamp
            for name, row in self._rows:
                row[:] = getattr(targets, name)
            self._send(self._targets)

    def acquire(self, policy: PolicySpec | None = None) -> tuple[bool, str]:
        """Ask for the lease; return (granted, why not).

        policy: the spec of the policy that was loaded and verified; without, no POLICY mode.
        """
        return self._ask(Verb.ACQUIRE, policy.spec_version if policy else 0, self.name)

    def release(self) -> tuple[bool, str]:
        """Give the lease back; the robot goes to damping."""
        return self._ask(Verb.RELEASE)

    def request_mode(self, mode: Mode) -> tuple[bool, str]:
        """Ask for a mode; ESTOP is granted to anybody."""
        return self._ask(Verb.MODE, argument=int(mode))

    def change_limits(self, **limits: object) -> tuple[bool, str]:
        """Change limits of the guard; milder ones only in ZERO_TORQUE."""
        text = " ".join(f"{key}={value}" for key, value in limits.items())
        if len(text) > TEXT:
            return False, f"'{text}' is longer than {TEXT} characters: ask for one after the other"
        return self._ask(Verb.LIMIT, text=text)

    def set_task(self, task: str) -> tuple[bool, str]:
        """Tell a simulator which task to score."""
        return self._ask(Verb.TASK, text=task)

    def push(self, force: Sequence[float], seconds: float) -> tuple[bool, str]:
        """Push a simulated torso: force [3] in N, world axes, for a while."""
        return self._ask(Verb.PUSH, text=" ".join(f"{value:.6g}" for value in (*force, seconds)))

    def close(self) -> None:
        """Close the sockets; the lease ends by itself."""
        with self._lock:
            self._states.close()
            self._commands.close()
            self._context.term()

    def _ask(self, verb: Verb, argument: int = 0, text: str = "") -> tuple[bool, str]:
        frame, number = frames.blank(Kind.REQUEST), next(self._count)
        frame["seq"], frame["stamp"] = number, time.monotonic()
        frame["verb"], frame["argument"] = verb, argument
        frame["joints"], frame["text"] = frames.JOINTS, text.encode()[:TEXT]
        with self._lock:
            self._send(frame)
        deadline = time.monotonic() + REPLY_TIMEOUT
        while time.monotonic() < deadline:
            with self._lock:
                self._collect()
                if number in self._replies:
                    return self._replies.pop(number)
            time.sleep(0.0005)
        told = f": {self._stranger}" if self._stranger else ""
        return False, f"the robot process at {self.endpoint} does not answer{told}"

    def _send(self, frame: np.ndarray) -> None:
        with contextlib.suppress(zmq.Again):  # nobody there: dropped, the watchdogs do the rest
            self._commands.send(frame.tobytes(), zmq.NOBLOCK)

    def _collect(self) -> None:
        while True:
            try:
                reply = frames.decode(self._commands.recv(zmq.NOBLOCK), Kind.REPLY)[0]
            except zmq.Again:
                return
            except FrameError as error:
                self._stranger = str(error)
                continue
            answer = bool(reply["granted"]), frames.text(reply["reason"])
            self._replies[int(reply["seq"])] = answer
