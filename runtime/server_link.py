"""The robot process's end of the wire: publishes states, takes targets from one commander.

ipc:// and loopback by default; any other address needs CURVE keys (`python -m runtime.keys`).
One commander at a time holds a lease; nothing that arrives can raise an error here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zmq

from runtime import frames, keys
from runtime.frames import FrameError, Kind, Verb
from runtime.link import LinkError, addresses, is_private
from runtime.state import JointTargets

LEASE = 1.0  # s, a commander that is silent for longer may be replaced


@dataclass(frozen=True, slots=True)
class Request:
    """One request that arrived at the robot process."""

    peer: bytes
    seq: int
    verb: Verb
    argument: int
    text: str


class CommandDesk:
    """What the robot process makes of frames, and who commands. Knows no socket."""

    def __init__(self) -> None:
        self.refused = 0  # frames that were none, or not the commander's
        self._holder: bytes | None = None
        self._holder_name = ""
        self._heard = 0.0

    def send(self, parts: list[bytes]) -> None:
        """Send [peer, frame]; never wait."""
        raise NotImplementedError

    def commander(self, now: float) -> str:
        """Return the name of who holds the lease, or an empty string."""
        held = self._holder is not None and now - self._heard <= LEASE
        return self._holder_name if held else ""

    def lease(self, request: Request, now: float) -> tuple[bool, str]:
        """Grant the lease to who asked, unless another commander holds it."""
        holder = self.commander(now)
        if holder and self._holder != request.peer:
            heard = now - self._heard
            return False, f"'{holder}' commands this robot (last heard {heard:.2f} s ago)"
        self._holder, self._heard = request.peer, now
        self._holder_name = request.text or "unnamed"
        return True, ""

    def drop(self) -> None:
        """End the lease."""
        self._holder, self._holder_name = None, ""

    def holds(self, peer: bytes, now: float) -> bool:
        """Return True if this peer holds the lease."""
        return peer == self._holder and now - self._heard <= LEASE

    def reply(self, request: Request, granted: bool, reason: str) -> None:
        """Answer a request."""
        frame = frames.blank(Kind.REPLY)
        frame["seq"], frame["granted"] = request.seq, granted
        frame["reason"] = reason.encode()[:255]
        self.send([request.peer, frame.tobytes()])

    def accept(self, parts: list[bytes], now: float) -> JointTargets | Request | None:
        """Return what a message [peer, frame] says; None, counted, if it says nothing to us."""
        message = self._understood(parts, now)
        self.refused += message is None
        return message

    def _understood(self, parts: list[bytes], now: float) -> JointTargets | Request | None:
        if len(parts) != 2:
            return None
        peer, data = parts
        try:
            kind = frames.kind_of(data)
            if kind is Kind.TARGETS:
                return self._targets(peer, data, now)
            return self._request(peer, data, now) if kind is Kind.REQUEST else None
        except FrameError as error:
            if data[:4] == frames.MAGIC and len(data) >= 16:
                self._refuse(peer, int.from_bytes(data[8:16], "little"), str(error))
        except ValueError:
            pass
        return None

    def _refuse(self, peer: bytes, seq: int, reason: str) -> None:
        """Tell another version of ourselves why nobody listens to it."""
        frame = frames.blank(Kind.REPLY)
        frame["seq"], frame["reason"] = seq, reason.encode()[:255]
        self.send([peer, frame.tobytes()])

    def _targets(self, peer: bytes, data: bytes, now: float) -> JointTargets | None:
        if not self.holds(peer, now):
            return None
        record = frames.decode(data, Kind.TARGETS)[0]
        self._heard = now
        return JointTargets(
            seq=int(record["seq"]),
            stamp=float(record["stamp"]),
            position=record["position"],
            velocity=record["velocity"],
            torque=record["torque"],
            stiffness=record["stiffness"],
            damping=record["damping"],
        )

    def _request(self, peer: bytes, data: bytes, now: float) -> Request | None:
        record = frames.decode(data, Kind.REQUEST)[0]
        request = Request(
            peer=peer,
            seq=int(record["seq"]),
            verb=Verb(int(record["verb"])),
            argument=int(record["argument"]),
            text=frames.text(record["text"]),
        )
        if bytes(record["joints"]) != frames.JOINTS:
            self.reply(request, False, "the joint order of this client is not this robot's")
            return None
        if self.holds(peer, now):
            self._heard = now
        return request


class RobotServerLink(CommandDesk):
    """The robot process's end: publishes states, yields the commander's targets and requests."""

    def __init__(self, endpoint: str, *, key_dir: str = "") -> None:
        super().__init__()
        if not is_private(endpoint) and not key_dir:
            raise LinkError(
                f"'{endpoint}' can be reached from other machines: refusing to bind without keys. "
                "Make them with `python -m runtime.keys dir=keys` and pass keys=keys on both "
                "sides, or use ipc:// or tcp://127.0.0.1"
            )
        state, command = addresses(endpoint)
        self._context = zmq.Context()
        self._auth = keys.authenticator(self._context, Path(key_dir)) if key_dir else None
        self._states = self._context.socket(zmq.PUB)
        self._states.setsockopt(zmq.SNDHWM, 10)
        self._commands = self._context.socket(zmq.ROUTER)
        self._commands.setsockopt(zmq.RCVHWM, 64)
        for socket, address in ((self._states, state), (self._commands, command)):
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.MAXMSGSIZE, frames.LARGEST)
            if key_dir:
                keys.secure_server(socket, Path(key_dir))
            try:
                socket.bind(address)
            except zmq.ZMQError as error:
                raise LinkError(f"cannot bind {address}: {error.strerror}") from None

    def receive(self, now: float, limit: int = 64) -> Iterator[JointTargets | Request]:
        """Yield what has arrived, at most `limit` frames: the commander's targets, all requests."""
        for _ in range(limit):
            if not int(self._commands.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                return
            message = self.accept(self._commands.recv_multipart(zmq.NOBLOCK), now)
            if message is not None:
                yield message

    def send(self, parts: list[bytes]) -> None:
        """Send [peer, frame]; never wait."""
        _send(self._commands, parts)

    def publish(self, frame: np.ndarray) -> None:
        """Send a state frame to everybody."""
        _send(self._states, [frame.tobytes()])

    def close(self) -> None:
        """Close the sockets."""
        self._states.close()
        self._commands.close()
        if self._auth is not None:
            self._auth.stop()
        self._context.term()


def _send(socket: zmq.Socket, parts: list[bytes]) -> None:
    with contextlib.suppress(zmq.ZMQError):  # nobody there, or too slow: never wait
        socket.send_multipart(parts, zmq.NOBLOCK)
