"""How a recorder hears every control tick: the loop's owner publishes them beside the robot's wire.

Nobody has to listen, and nobody who listens can slow the loop down. ipc or loopback only.
"""

from __future__ import annotations

import contextlib
from collections import deque

import zmq

from runtime import frames
from runtime.frames import FrameError, Kind
from runtime.link import LinkError, addresses
from runtime.loop import Tick

_STATE = [name for name, _ in frames.STATE_VECTORS[:7]]


def tick_address(endpoint: str) -> str:
    """Return where the control ticks of a robot process's endpoint are published."""
    state, command = addresses(endpoint)
    if state.startswith("ipc"):
        return f"{endpoint}.ticks"
    return f"tcp://127.0.0.1:{int(command.rpartition(':')[2]) + 2}"


class TickFeed:
    """The control loop's end: hands on what the loop has put into its history."""

    def __init__(self, endpoint: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, 500)
        try:
            self._socket.bind(tick_address(endpoint))
        except zmq.ZMQError as error:
            self.close()
            raise LinkError(f"cannot bind {tick_address(endpoint)}: {error.strerror}") from None
        self._last = 0

    def send(self, tick: Tick) -> None:
        """Publish one tick; never blocks."""
        woke, reading, targets, command = tick
        frame = frames.blank(Kind.TICK)
        frame["stamp"], frame["mode"] = woke, reading.mode
        frame["state_seq"], frame["state_stamp"] = reading.seq, reading.state.stamp
        frame["task"], frame["heading"] = str(command.task).encode()[:32], command.heading
        frame["velocity"] = command.velocity
        for name in _STATE:
            frame[name] = getattr(reading.state, name)
        if targets is not None and targets.seq != self._last:
            self._last = targets.seq
            frame["seq"], frame["answered"] = targets.seq, 1
            frame["position"], frame["stiffness"] = targets.position, targets.stiffness
            frame["damping"] = targets.damping
        with contextlib.suppress(zmq.ZMQError):
            self._socket.send(frame.tobytes(), zmq.NOBLOCK)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        self._context.term()


class SentHistory(deque[Tick]):
    """A control loop's history that keeps nothing and publishes at once, in the loop's thread."""

    def __init__(self, feed: TickFeed) -> None:
        super().__init__(maxlen=0)
        self._feed = feed

    def append(self, tick: Tick, /) -> None:
        """Publish a tick; about 0.05 ms, when the tick's own work is done."""
        self._feed.send(tick)


class Listener:
    """A recorder's end of the robot's states and the loop's ticks: every frame, none dropped."""

    def __init__(self, endpoint: str) -> None:
        self._context = zmq.Context()
        self._poller = zmq.Poller()
        self._sockets = []
        for address in (addresses(endpoint)[0], tick_address(endpoint)):
            socket = self._context.socket(zmq.SUB)
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.RCVHWM, 5000)
            socket.setsockopt(zmq.SUBSCRIBE, b"")
            socket.connect(address)
            self._poller.register(socket, zmq.POLLIN)
            self._sockets.append(socket)

    def receive(self, timeout: float) -> list[tuple[Kind, bytes]]:
        """Return what has arrived, waiting at most `timeout` s for the first."""
        found: list[tuple[Kind, bytes]] = []
        for socket, _ in self._poller.poll(round(timeout * 1e3)):
            with contextlib.suppress(zmq.Again):
                while len(found) < 2000:
                    _keep(socket.recv(zmq.NOBLOCK), found)
        return found

    def close(self) -> None:
        """Close the sockets."""
        for socket in self._sockets:
            socket.close()
        self._context.term()


def _keep(data: bytes, found: list[tuple[Kind, bytes]]) -> None:
    """Append what is a whole frame; drop what is none."""
    with contextlib.suppress(FrameError):
        kind = frames.kind_of(data)
        frames.decode(data, kind)
        found.append((kind, data))
