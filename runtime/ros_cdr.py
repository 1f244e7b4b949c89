"""ROS 2 messages as bytes, without ROS: definitions and CDR for the few types a recording has.

A message whose strings never change has one layout; it is made once, and only its numbers are
filled in. Definitions: the ROS 2 common interfaces, fields only.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

_HEADER = "builtin_interfaces/Time stamp\nstring frame_id"
_TIME = "int32 sec\nuint32 nanosec"
_VECTOR = "float64 x\nfloat64 y\nfloat64 z"
_QUATERNION = f"{_VECTOR}\nfloat64 w"
_STAMPED = {"std_msgs/Header": _HEADER, "builtin_interfaces/Time": _TIME}
_GEOMETRY = {"geometry_msgs/Vector3": _VECTOR, "geometry_msgs/Quaternion": _QUATERNION}


def _definition(own: str, others: dict[str, str]) -> str:
    parts = [own, *(f"MSG: {name}\n{text}" for name, text in others.items())]
    return f"\n{'=' * 80}\n".join(parts)


DEFINITIONS: dict[str, str] = {
    "sensor_msgs/msg/JointState": _definition(
        "std_msgs/Header header\nstring[] name\nfloat64[] position\nfloat64[] velocity\n"
        "float64[] effort",
        _STAMPED,
    ),
    "sensor_msgs/msg/Imu": _definition(
        "std_msgs/Header header\ngeometry_msgs/Quaternion orientation\n"
        "float64[9] orientation_covariance\ngeometry_msgs/Vector3 angular_velocity\n"
        "float64[9] angular_velocity_covariance\ngeometry_msgs/Vector3 linear_acceleration\n"
        "float64[9] linear_acceleration_covariance",
        _STAMPED | _GEOMETRY,
    ),
    "nav_msgs/msg/Odometry": _definition(
        "std_msgs/Header header\nstring child_frame_id\n"
        "geometry_msgs/PoseWithCovariance pose\ngeometry_msgs/TwistWithCovariance twist",
        _STAMPED
        | _GEOMETRY
        | {
            "geometry_msgs/Point": _VECTOR,
            "geometry_msgs/Pose": "geometry_msgs/Point position\n"
            "geometry_msgs/Quaternion orientation",
            "geometry_msgs/Twist": "geometry_msgs/Vector3 linear\ngeometry_msgs/Vector3 angular",
            "geometry_msgs/PoseWithCovariance": "geometry_msgs/Pose pose\nfloat64[36] covariance",
            "geometry_msgs/TwistWithCovariance": "geometry_msgs/Twist twist\n"
            "float64[36] covariance",
        },
    ),
    "std_msgs/msg/Float64MultiArray": _definition(
        "std_msgs/MultiArrayLayout layout\nfloat64[] data",
        {
            "std_msgs/MultiArrayLayout": "std_msgs/MultiArrayDimension[] dim\nuint32 data_offset",
            "std_msgs/MultiArrayDimension": "string label\nuint32 size\nuint32 stride",
        },
    ),
    "std_msgs/msg/String": "string data",
}


class Cdr:
    """Writes little-endian CDR: every number aligned to its own size, counted from the body."""

    def __init__(self) -> None:
        self.body = bytearray()

    def put(self, code: str, *values: float) -> Cdr:
        """Write numbers of one `struct` code."""
        size = struct.calcsize("<" + code)
        for value in values:
            self.body += b"\0" * (-len(self.body) % size)
            self.body += struct.pack("<" + code, value)
        return self

    def text(self, value: str) -> Cdr:
        """Write a string."""
        data = value.encode() + b"\0"
        self.put("I", len(data))
        self.body += data
        return self

    def room(self, count: int) -> int:
        """Leave room for `count` doubles; return where it begins in the payload."""
        self.body += b"\0" * (-len(self.body) % 8)
        self.body += bytes(8 * count)
        return 4 + len(self.body) - 8 * count

    def payload(self) -> bytearray:
        """Return the message with its encapsulation header."""
        return bytearray(b"\0\1\0\0") + self.body


class Template:
    """A message of one layout; `rooms` are its runs of doubles, `stamped` if it has a header."""

    def __init__(
        self, kind: str, cdr: Cdr, rooms: Sequence[tuple[int, int]], stamped: bool
    ) -> None:
        self.kind, self._payload, self._stamped = kind, cdr.payload(), stamped
        self._rooms = [(at, struct.Struct(f"<{count}d")) for at, count in rooms]

    def fill(self, nanoseconds: int, *rows: Iterable[float]) -> bytes:
        """Return the message with this stamp (ns since the epoch) and these numbers."""
        if self._stamped:
            struct.pack_into("<iI", self._payload, 4, *divmod(nanoseconds, 1_000_000_000))
        for (at, layout), row in zip(self._rooms, rows, strict=True):
            layout.pack_into(self._payload, at, *row)
        return bytes(self._payload)


def joint_state(frame: str, names: Sequence[str]) -> Template:
    """Return a JointState: position, velocity, effort of these joints."""
    cdr, count = Cdr().put("i", 0).put("I", 0).text(frame).put("I", len(names)), len(names)
    for name in names:
        cdr.text(name)
    rooms = []
    for _ in range(3):
        cdr.put("I", count)
        rooms.append((cdr.room(count), count))
    return Template("sensor_msgs/msg/JointState", cdr, rooms, True)


def imu(frame: str) -> Template:
    """Return an Imu: orientation x y z w [4], angular velocity [3]; accelerations are unknown."""
    cdr = Cdr().put("i", 0).put("I", 0).text(frame)
    orientation, _ = cdr.room(4), cdr.room(9)
    turning, _ = cdr.room(3), cdr.room(9)
    cdr.put("d", 0.0, 0.0, 0.0, -1.0, *([0.0] * 8))
    return Template("sensor_msgs/msg/Imu", cdr, [(orientation, 4), (turning, 3)], True)


def odometry(frame: str, child: str) -> Template:
    """Return an Odometry: position [3], orientation x y z w [4]; linear [3], angular [3]."""
    cdr = Cdr().put("i", 0).put("I", 0).text(frame).text(child)
    pose, _ = cdr.room(7), cdr.room(36)
    twist, _ = cdr.room(6), cdr.room(36)
    rooms = [(pose, 3), (pose + 24, 4), (twist, 3), (twist + 24, 3)]
    return Template("nav_msgs/msg/Odometry", cdr, rooms, True)


def numbers(labels: Sequence[str]) -> Template:
    """Return a Float64MultiArray whose one dimension is named after what is in it."""
    count = len(labels)
    cdr = Cdr().put("I", 1).text(" ".join(labels)).put("I", count, count, 0, count)
    return Template("std_msgs/msg/Float64MultiArray", cdr, [(cdr.room(count), count)], False)


def text(value: str) -> bytes:
    """Return a String."""
    return bytes(Cdr().text(value).payload())
