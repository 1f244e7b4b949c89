"""What a person's view and the control loop say to each other: tasks, headings, modes, latencies.

The control loop holds the lease of the robot process, so wishes go to the loop, and the loop's
owner carries them out. One ROUTER beside the robot's two sockets, same frames, same keys; a TCP
endpoint's is on loopback only. ESTOP does not go this way: anybody may ask the robot process.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import zmq

from runtime import frames, keys
from runtime.frames import FrameError, Kind, Verb
from runtime.link import LinkError, addresses
from runtime.loop import ControlLoop
from runtime.modes import Mode
from runtime.spec import PolicySpec
from runtime.state import Command

ASK_TIMEOUT = 1.0  # s
NOBODY = "no control loop answers: no policy runs on this robot process"


def loop_address(endpoint: str) -> str:
    """Return where the control loop of a robot process's endpoint listens."""
    state, command = addresses(endpoint)
    if state.startswith("ipc"):
        return f"{endpoint}.loop"
    return f"tcp://127.0.0.1:{int(command.rpartition(':')[2]) + 1}"


class Desk(Protocol):
    """The owner of a control loop, as far as a person's wishes concern it."""

    loop: ControlLoop
    spec: PolicySpec

    def command(self, command: Command) -> str:
        """Make this the wish; return why not, or nothing."""
        ...

    def request(self, mode: Mode) -> tuple[bool, str]:
        """Ask the robot process for a mode; return (granted, why not)."""
        ...

    def push(self, force: np.ndarray, seconds: float) -> tuple[bool, str]:
        """Push a simulated robot; return (granted, why not)."""
        ...


class CommandServer:
    """The control loop's end. `serve` never blocks; call it from one thread, often."""

    def __init__(self, endpoint: str, *, key_dir: str = "") -> None:
        address = loop_address(endpoint)
        self._context = zmq.Context()
        self._auth = keys.authenticator(self._context, Path(key_dir)) if key_dir else None
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.RCVHWM, 64)
        self._socket.setsockopt(zmq.MAXMSGSIZE, frames.LARGEST)
        self._socket.setsockopt(zmq.LINGER, 0)
        if key_dir:
            keys.secure_server(self._socket, Path(key_dir))
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self.close()
            raise LinkError(f"cannot bind {address}: {error.strerror}") from None
        self.refused = 0  # frames that were none of this wire

    def serve(self, desk: Desk, limit: int = 16) -> None:
        """Carry out what has arrived, at most `limit` wishes, and answer each."""
        for _ in range(limit):
            if not int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                return
            parts = self._socket.recv_multipart(zmq.NOBLOCK)
            try:
                wish = frames.decode(parts[-1], Kind.WISH)[0]
                verb = Verb(int(wish["verb"]))
            except (FrameError, ValueError):
                self.refused += 1
                continue
            if bytes(wish["joints"]) != frames.JOINTS:
                granted, reason = False, "the joint order of this view is not this robot's"
            elif time.monotonic() - float(wish["stamp"]) > ASK_TIMEOUT:  # one machine, one clock
                granted, reason = False, "too late: nobody waits for this wish any more"
            else:
                granted, reason = _carry_out(desk, verb, wish)
            answer = _answer(desk, int(wish["seq"]), granted, reason)
            with contextlib.suppress(zmq.ZMQError):  # gone again
                self._socket.send_multipart([parts[0], answer.tobytes()], zmq.NOBLOCK)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        if self._auth is not None:
            self._auth.stop()
        self._context.term()


def _carry_out(desk: Desk, verb: Verb, wish: np.void) -> tuple[bool, str]:
    if verb is Verb.STATUS:
        return True, ""
    if verb is Verb.MODE:
        number = int(wish["argument"])
        if number not in Mode._value2member_map_:
            return False, f"mode {number} unknown; there are {[mode.name for mode in Mode]}"
        return desk.request(Mode(number))
    if verb is Verb.PUSH:
        return desk.push(np.array(wish["force"]), float(wish["seconds"]))
    if verb is not Verb.COMMAND:
        return False, f"{verb.name} is asked of the robot process, not of a control loop"
    task, numbers = frames.text(wish["task"]), [wish["heading"], *wish["velocity"]]
    if task not in desk.spec.tasks:
        return False, f"task '{task}' is not one of {list(desk.spec.tasks)}"
    if not np.isfinite(numbers).all():
        return False, f"heading and velocity must be finite numbers, got {numbers}"
    heading, *velocity = (float(value) for value in numbers)
    said = desk.command(Command(task, heading, (velocity[0], velocity[1], velocity[2])))
    return not said, said


def histogram(latencies: np.ndarray) -> np.ndarray:
    """Return counts [LATENCY_BINS] of latencies [n] us: eight bins a decade from LATENCY_FIRST."""
    where = np.floor(8.0 * np.log10(np.maximum(latencies, 1e-9) / frames.LATENCY_FIRST))
    where = np.clip(where, 0, frames.LATENCY_BINS - 1).astype(int)
    return np.bincount(where, minlength=frames.LATENCY_BINS)


def _answer(desk: Desk, seq: int, granted: bool, reason: str) -> np.ndarray:
    frame, loop, spec = frames.blank(Kind.ANSWER), desk.loop, desk.spec
    stats, command, latencies = loop.stats(), loop.command, loop.latencies()
    frame["seq"], frame["stamp"] = seq, time.monotonic()
    frame["granted"], frame["reason"] = granted, reason.encode()[:255]
    frame["policy"] = spec.name.encode()[:64]
    frame["tasks"] = ",".join(spec.tasks).encode()[:512]
    frame["blocks"] = ",".join(item.name for item in spec.observation).encode()[:256]
    frame["task"], frame["heading"] = str(command.task).encode()[:32], command.heading
    frame["velocity"] = command.velocity
    frame["ticks"], frame["misses"] = stats.ticks, stats.deadline_misses
    frame["stale"], frame["bad"], frame["hz"] = stats.stale_ticks, stats.bad_observations, stats.hz
    for i, name in enumerate(frames.LATENCIES):
        column = latencies[:, i] if len(latencies) else np.zeros(1)
        frame[name] = np.percentile(column, frames.QUANTILES)
        frame[f"{name}_counts"] = histogram(latencies[:, i])
    return frame


@dataclass(frozen=True, slots=True)
class Answer:
    """What a control loop said."""

    granted: bool
    reason: str  # why not
    policy: str = ""
    tasks: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()  # of the policy's observation
    task: str = ""
    heading: float = 0.0  # rad
    velocity: tuple[float, ...] = (0.0, 0.0, 0.0)
    ticks: int = 0
    misses: int = 0
    stale: int = 0
    bad: int = 0
    hz: float = 0.0
    quantiles: dict[str, list[float]] = field(default_factory=dict)  # us, at QUANTILES
    counts: dict[str, list[int]] = field(default_factory=dict)  # see `histogram`


class CommandClient:
    """The view's end. Every method may be called from any thread."""

    def __init__(self, endpoint: str, *, key_dir: str = "") -> None:
        self._lock, self._count = threading.Lock(), itertools.count(1)
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, 8)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)  # a wish for a loop that is not there is void
        if key_dir:
            keys.secure_client(self._socket, Path(key_dir))
        self._socket.connect(loop_address(endpoint))

    def status(self) -> Answer:
        """Ask how the loop is."""
        return self._ask(Verb.STATUS)

    def command(self, command: Command) -> Answer:
        """Wish a task, a heading and a velocity."""
        return self._ask(Verb.COMMAND, command=command)

    def request_mode(self, mode: Mode) -> Answer:
        """Wish a mode."""
        return self._ask(Verb.MODE, argument=int(mode))

    def push(self, force: tuple[float, float, float], seconds: float) -> Answer:
        """Wish a push of the simulated torso: N in world axes, s."""
        return self._ask(Verb.PUSH, force=force, seconds=seconds)

    def close(self) -> None:
        """Close the socket."""
        with self._lock:
            self._socket.close()
            self._context.term()

    def _ask(
        self,
        verb: Verb,
        *,
        argument: int = 0,
        command: Command | None = None,
        force: tuple[float, ...] = (0.0, 0.0, 0.0),
        seconds: float = 0.0,
    ) -> Answer:
        frame, number = frames.blank(Kind.WISH), next(self._count)
        frame["seq"], frame["stamp"], frame["joints"] = number, time.monotonic(), frames.JOINTS
        frame["verb"], frame["argument"] = verb, argument
        frame["force"], frame["seconds"] = force, seconds
        if command is not None:
            frame["task"], frame["heading"] = str(command.task).encode()[:32], command.heading
            frame["velocity"] = command.velocity
        with self._lock:
            with contextlib.suppress(zmq.Again):
                self._socket.send(frame.tobytes(), zmq.NOBLOCK)
            return self._await(number)

    def _await(self, number: int) -> Answer:
        """Return the answer to that wish; earlier ones and rubbish are passed over."""
        deadline = time.monotonic() + ASK_TIMEOUT
        while (left := deadline - time.monotonic()) > 0.0:
            if not self._socket.poll(int(1e3 * left) + 1):
                break
            with contextlib.suppress(FrameError):
                record = frames.decode(self._socket.recv(), Kind.ANSWER)[0]
                if int(record["seq"]) == number:
                    return _decoded(record)
        return Answer(False, NOBODY)


def _decoded(record: np.void) -> Answer:
    def words(name: str) -> tuple[str, ...]:
        return tuple(filter(None, frames.text(record[name]).split(",")))

    return Answer(
        granted=bool(record["granted"]),
        reason=frames.text(record["reason"]),
        policy=frames.text(record["policy"]),
        tasks=words("tasks"),
        blocks=words("blocks"),
        task=frames.text(record["task"]),
        heading=float(record["heading"]),
        velocity=tuple(float(value) for value in record["velocity"]),
        ticks=int(record["ticks"]),
        misses=int(record["misses"]),
        stale=int(record["stale"]),
        bad=int(record["bad"]),
        hz=float(record["hz"]),
        quantiles={name: record[name].tolist() for name in frames.LATENCIES},
        counts={name: record[f"{name}_counts"].tolist() for name in frames.LATENCIES},
    )
