"""The wire's frames: fixed-layout, versioned, little-endian records. Bytes in, records out.

Everything that arrives is checked here for size, magic, version and kind; what it says is judged
elsewhere. Knows no socket.
"""

from __future__ import annotations

import hashlib
import struct
from enum import IntEnum
from typing import Any

import numpy as np

from runtime import h1
from runtime.monitors import MONITORS

LARGEST = 4096  # bytes: no frame is larger, and what is larger ends its sender's connection
MAGIC = b"EZMW"
VERSION = 2


class Kind(IntEnum):
    """What a frame is."""

    STATE = 1  # robot process -> everybody
    TARGETS = 2  # commander -> robot process
    REQUEST = 3  # anybody -> robot process
    REPLY = 4  # robot process -> who asked
    WISH = 5  # a person's view -> control loop
    ANSWER = 6  # control loop -> who asked
    TICK = 7  # control loop -> a recorder


class Verb(IntEnum):
    """What a request asks for."""

    ACQUIRE = 1  # argument: PolicySpec version that was loaded and verified, or 0
    RELEASE = 2
    MODE = 3  # argument: Mode
    TASK = 4  # text: the task's name
    PUSH = 5  # text: force N (x y z, world) and seconds; simulation only
    COMMAND = 6  # of a control loop: task, heading, velocity
    STATUS = 7  # of a control loop: how are you?
    LIMIT = 8  # text: key=value words of GuardConfig


class FrameError(ValueError):
    """Bytes that are no frame of this wire."""


LATENCIES = ("tick", "late", "age")  # of a control loop: the tick's work, its wake-up, its state
QUANTILES = (50, 99, 100)
LATENCY_BINS = 32  # eight a decade, from LATENCY_FIRST on; the first and the last are open
LATENCY_FIRST = 10.0  # us

SERVER_STAGES = ("age", "serve", "read", "guard", "write", "publish", "tick", "late")
STAGE_QUANTILES = 4  # p50, p95, p99, longest; us

STATE_VECTORS = (
    ("orientation", 4),
    ("angular_velocity", 3),
    ("joint_position", 19),
    ("joint_velocity", 19),
    ("joint_torque", 19),
    ("base_position", 3),
    ("base_linear_velocity", 3),
    ("target_position", 19),
    ("monitors", len(MONITORS)),  # how often each fired
    ("stages", len(SERVER_STAGES) * STAGE_QUANTILES),  # of the robot process's ticks
)
_HEADER = [
    ("magic", "S4"),
    ("version", "<u2"),
    ("kind", "<u2"),
    ("seq", "<u8"),
    ("stamp", "<f8"),  # s, the sender's monotonic clock
]
_LAYOUT: dict[Kind, np.dtype] = {
    Kind.STATE: np.dtype(
        [
            *_HEADER,
            ("mode", "u1"),
            ("goal", "u1"),
            ("commander", "u1"),
            ("realtime", "u1"),
            ("falls", "<u4"),
            ("policy_ticks", "<u4"),
            ("late_ticks", "<u4"),
            ("slipped", "<u4"),
            ("refused", "<u4"),
            ("findings", "<u4"),
            ("now", "<f8"),  # s, the tick's own time, on the clock of `stamp`
            ("target_seq", "<u8"),  # of the commander's targets that are written; 0: the mode's
            ("target_age", "<f8"),
            ("reward", "<f8"),
            ("reward_sum", "<f8"),
            ("tick_us", "<f8"),
            ("task", "S32"),
            ("reason", "S64"),
            ("fault", "S64"),
            *((name, "<f8", size) for name, size in STATE_VECTORS),
        ]
    ),
    Kind.TARGETS: np.dtype(
        [
            *_HEADER,
            ("position", "<f8", 19),
            ("velocity", "<f8", 19),
            ("torque", "<f8", 19),
            ("stiffness", "<f8", 19),
            ("damping", "<f8", 19),
        ]
    ),
    Kind.REQUEST: np.dtype(
        [
            *_HEADER,
            ("verb", "<u2"),
            ("argument", "<u2"),
            ("joints", "S16"),  # digest of the joint order
            ("text", "S64"),
        ]
    ),
    Kind.REPLY: np.dtype([*_HEADER, ("granted", "u1"), ("reason", "S255")]),
    Kind.WISH: np.dtype(
        [
            *_HEADER,
            ("verb", "<u2"),  # STATUS, COMMAND, MODE or PUSH
            ("argument", "<u2"),  # Mode
            ("joints", "S16"),
            ("task", "S32"),
            ("heading", "<f8"),  # rad
            ("velocity", "<f8", 3),  # m/s, m/s, rad/s
            ("force", "<f8", 3),  # N, world
            ("seconds", "<f8"),
        ]
    ),
    Kind.TICK: np.dtype(  # one control tick: what the policy was asked and what it answered
        [
            *_HEADER,  # seq: of the targets; stamp: when the tick began
            ("state_seq", "<u8"),
            ("state_stamp", "<f8"),
            ("mode", "u1"),
            ("answered", "u1"),  # 0: no targets were sent in this tick
            ("task", "S32"),
            ("heading", "<f8"),  # rad
            ("velocity", "<f8", 3),  # m/s, m/s, rad/s
            *((name, "<f8", size) for name, size in STATE_VECTORS[:7]),  # the robot's state
            ("position", "<f8", 19),
            ("stiffness", "<f8", 19),
            ("damping", "<f8", 19),
        ]
    ),
    Kind.ANSWER: np.dtype(
        [
            *_HEADER,
            ("granted", "u1"),
            ("reason", "S255"),
            ("policy", "S64"),
            ("tasks", "S512"),  # names, by commas
            ("blocks", "S256"),  # of the policy's observation, by commas
            ("task", "S32"),
            ("heading", "<f8"),
            ("velocity", "<f8", 3),
            ("ticks", "<u8"),
            ("misses", "<u4"),
            ("stale", "<u4"),
            ("bad", "<u4"),
            ("hz", "<f8"),
            *((name, "<f8", len(QUANTILES)) for name in LATENCIES),  # us
            *((f"{name}_counts", "<u4", LATENCY_BINS) for name in LATENCIES),
        ]
    ),
}

JOINTS = hashlib.sha256("\n".join(h1.JOINT_NAMES).encode()).hexdigest()[:16].encode()


def blank(kind: Kind) -> np.ndarray:
    """Return an empty frame of this kind: a record array of shape [1] to fill in."""
    frame = np.zeros(1, _LAYOUT[kind])
    frame["magic"], frame["version"], frame["kind"] = MAGIC, VERSION, kind
    return frame


def kind_of(data: bytes) -> Kind:
    """Return what kind of frame these bytes claim to be, or raise FrameError."""
    if len(data) < 8 or data[:4] != MAGIC:
        raise FrameError(f"no frame of this wire: {len(data)} bytes starting {data[:8]!r}")
    version, kind = int.from_bytes(data[4:6], "little"), int.from_bytes(data[6:8], "little")
    if version != VERSION:
        raise FrameError(f"wire version {version}, this side speaks {VERSION}")
    if kind not in _LAYOUT:
        raise FrameError(f"unknown kind of frame: {kind}")
    return Kind(kind)


def decode(data: bytes, kind: Kind) -> np.ndarray:
    """Return the frame as a read-only record [1], or raise FrameError."""
    found = kind_of(data)
    if found is not kind:
        raise FrameError(f"expected a {kind.name} frame, got {found.name}")
    layout = _LAYOUT[kind]
    if len(data) != layout.itemsize:
        raise FrameError(f"{kind.name} frame of {len(data)} bytes, expected {layout.itemsize}")
    return np.frombuffer(data, layout)


_LETTER = {"|u1": "B", "<u2": "H", "<u4": "I", "<u8": "Q", "<f8": "d"}
_STATE = _LAYOUT[Kind.STATE]
_HEAD_NAMES = tuple(n for n in _STATE.names or () if not _STATE[n].shape)
_HEAD = struct.Struct(
    "<" + "".join(_LETTER.get(_STATE[n].str, f"{_STATE[n].itemsize}s") for n in _HEAD_NAMES)
)
_ENDS = np.cumsum([0, *(size for _, size in STATE_VECTORS)]).tolist()


def unpack_state(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return a state frame's scalars and vectors: five times quicker than its record's fields.

    The frame must have passed `decode`.
    """
    head = dict(zip(_HEAD_NAMES, _HEAD.unpack_from(data), strict=True))
    numbers = np.frombuffer(data, np.float64, offset=_HEAD.size)
    spans = zip(STATE_VECTORS, _ENDS, strict=False)
    return head, {name: numbers[start : start + size] for (name, size), start in spans}


def text(value: bytes) -> str:
    """Return a fixed-width text field; what is not UTF-8 is replaced."""
    return value.rstrip(b"\0").decode("utf-8", "replace")
