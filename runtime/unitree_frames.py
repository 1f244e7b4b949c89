"""LowState payloads to robot states, joint targets to LowCmd payloads: a few array operations.

Nothing here builds an object per field: numbers are gathered from the payload by index. The torso's
IMU is turned to the pelvis. Knows the layouts, and no DDS.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import numpy as np

from runtime import h1
from runtime import unitree_layout as layout
from runtime.robot import Health
from runtime.state import JointTargets, RobotState

_WAIST = h1.JOINT_NAMES.index("torso")
BUTTONS = ("R1", "L1", "start", "select", "R2", "L2", "F1", "F2", "A", "B", "X", "Y")
BUTTONS += ("up", "right", "down", "left")
_STATE, _COMMAND = layout.STATE_RECORD, layout.COMMAND_RECORD
_MOTOR, _CMD_MOTOR = _STATE["motor"].base, _COMMAND["motor"].base
_REMOTE = _STATE.fields["wireless_remote"][1] if _STATE.fields else 0
_IMU, _PELVIS = struct.Struct("<7f"), struct.Struct("=7d")
_IMU_AT = _STATE.fields["quaternion"][1] if _STATE.fields else 0
Quaternion = tuple[float, float, float, float]  # w x y z
_UNKNOWN = np.full(3, np.nan)
_UNKNOWN.setflags(write=False)


def _words(record: np.dtype, motor: np.dtype, *names: str) -> np.ndarray:
    """Return where motor numbers of all joints lie in a payload, counted in 32-bit words [n 19]."""
    start = record.fields["motor"][1] if record.fields else 0
    rows = [start + layout.SLOTS * motor.itemsize + motor.fields[name][1] for name in names]  # type: ignore[index]
    return np.concatenate(rows) // 4


def _span(name: str, count: int) -> np.ndarray:
    return np.arange(count) + (_STATE.fields[name][1] if _STATE.fields else 0) // 4


_NUMBERS = np.concatenate(
    [_span("quaternion", 4), _span("gyroscope", 3), _words(_STATE, _MOTOR, "q", "dq", "tau_est")]
)
_TARGETS = _words(_COMMAND, _CMD_MOTOR, "q", "dq", "tau", "kp", "kd")
_HEAT = 80 + layout.SLOTS * 48 + 32  # bytes of the payload


def is_whole(payload: bytes) -> bool:
    """Return True if a LowState payload has the right size, byte order and CRC."""
    return layout.STATE.whole(payload)


def has_no_crc(payload: bytes) -> bool:
    """Return True if a LowState payload is of the right size and its CRC was never filled in."""
    return len(payload) == layout.STATE.size and not any(payload[-4:])


def robot_state(payload: bytes, stamp: float, facing: float | None = 0.0) -> RobotState:
    """Read the 19 joints and the pelvis out of a whole LowState payload.

    facing: rad, the pelvis's yaw by the IMU that shall read 0; None: whichever it is now.
    """
    numbers = np.frombuffer(payload, "<f4").take(_NUMBERS).astype(np.float64)
    w, x, y, z, gx, gy, gz = _IMU.unpack_from(payload, _IMU_AT)
    waist, rate = numbers.item(7 + _WAIST), numbers.item(26 + _WAIST)
    cos, sin = math.cos(waist), math.sin(waist)
    pelvis = _unturned(w, x, y, z, waist)
    if facing != 0.0:
        pelvis = _turned_back(*pelvis, _yaw(*pelvis) if facing is None else facing)
    turned = (*pelvis, cos * gx - sin * gy, sin * gx + cos * gy, gz - rate)
    _PELVIS.pack_into(numbers, 0, *turned)  # type: ignore[arg-type]
    return RobotState(
        stamp,
        numbers[:4],
        numbers[4:7],
        numbers[7:26],
        numbers[26:45],
        numbers[45:64],
        _UNKNOWN,
        _UNKNOWN,
    )


def facing_of(payload: bytes) -> float:
    """Return the pelvis's yaw by the IMU, rad, in a whole LowState payload."""
    waist = float(np.frombuffer(payload, "<f4")[_NUMBERS[7 + _WAIST]])
    w, x, y, z = _IMU.unpack_from(payload, _IMU_AT)[:4]
    return _yaw(*_unturned(w, x, y, z, waist))


def _yaw(w: float, x: float, y: float, z: float) -> float:
    return math.atan2(2.0 * (w * z + x * y), w * w + x * x - y * y - z * z)


def _turned_back(w: float, x: float, y: float, z: float, yaw: float) -> Quaternion:
    """Return the quaternion before a turn by `yaw` rad about the world's vertical."""
    c, s = math.cos(0.5 * yaw), math.sin(0.5 * yaw)
    return w * c + z * s, x * c + y * s, y * c - x * s, z * c - w * s


def _unturned(w: float, x: float, y: float, z: float, waist: float) -> Quaternion:
    """Return the quaternion before a turn by `waist` rad about its own z axis."""
    c, s = math.cos(0.5 * waist), math.sin(0.5 * waist)
    return w * c + z * s, x * c - y * s, y * c + x * s, z * c - w * s


def pelvis_from_torso(
    quaternion: np.ndarray, gyroscope: np.ndarray, waist: float, waist_rate: float
) -> tuple[np.ndarray, np.ndarray]:
    """Turn the torso IMU's readings into the pelvis's: the waist turns about the common z axis.

    quaternion [4] w x y z and gyroscope [3] rad/s of the torso; waist rad and rad/s.
    """
    w, x, y, z = quaternion.tolist()
    orientation = np.array(_unturned(w, x, y, z, waist))
    cos, sin = math.cos(waist), math.sin(waist)
    gx, gy, gz = gyroscope.tolist()
    return orientation, np.array([cos * gx - sin * gy, sin * gx + cos * gy, gz - waist_rate])


def torso_from_pelvis(
    quaternion: np.ndarray, rate: np.ndarray, waist: float, waist_rate: float
) -> tuple[np.ndarray, np.ndarray]:
    """Turn the pelvis's orientation and rate into what an IMU on the torso reads."""
    w, x, y, z = quaternion.tolist()
    orientation = np.array(_unturned(w, x, y, z, -waist))
    cos, sin = math.cos(waist), math.sin(waist)
    rx, ry, rz = rate.tolist()
    return orientation, np.array([cos * rx + sin * ry, cos * ry - sin * rx, rz + waist_rate])


def health(payload: bytes, broken: int, broken_run: int) -> Health:
    """Read temperatures, lost frames and battery out of a whole payload."""
    record = np.frombuffer(payload, _STATE)[0]
    motor = record["motor"][layout.SLOTS]
    return Health(
        temperature=motor["temperature"].view(np.int8).astype(np.float64),
        lost=motor["lost"].astype(np.int64),
        battery=float(record["soc"]),
        broken=broken,
        broken_run=broken_run,
    )


@dataclass(frozen=True)
class Remote:
    """The wireless remote: pressed buttons, and sticks from -1 to 1."""

    buttons: frozenset[str]
    lx: float
    ly: float
    rx: float
    ry: float
    l2: float


def remote(payload: bytes) -> Remote:
    """Decode the wireless remote's 40 bytes."""
    keys, lx, rx, ry, l2, ly = struct.unpack_from("<H5f", payload, _REMOTE + 2)
    return Remote(_pressed(keys), lx, ly, rx, ry, l2)


def buttons(payload: bytes) -> frozenset[str]:
    """Return the names of the remote's pressed buttons."""
    keys = payload[_REMOTE + 2] | payload[_REMOTE + 3] << 8
    return _pressed(keys) if keys else frozenset()


def _pressed(keys: int) -> frozenset[str]:
    return frozenset(name for bit, name in enumerate(BUTTONS) if keys >> bit & 1)


def motor_faults(payload: bytes, hottest: int = 90) -> str:
    """Name the hottest motor if it is above `hottest` degC, or return an empty string."""
    heat = np.frombuffer(payload, np.int8).take(_HEAT)
    worst = int(heat.argmax())
    return f"{h1.JOINT_NAMES[worst]} at {heat[worst]} degC" if heat[worst] > hottest else ""


class CommandFrame:
    """A LowCmd, used again for every write; the unused motor slot stays idle."""

    def __init__(self) -> None:
        self._buffer = np.zeros(layout.COMMAND.size, np.uint8)
        self._buffer[:4] = np.frombuffer(layout.HEADER, np.uint8)
        self._words = self._buffer.view("<f4")
        self._crc = self._buffer[-4:].view("<u4")
        self.record = self._buffer.view(_COMMAND)[0]
        self.record["head"], self.record["level_flag"] = layout.HEAD, layout.LOW_LEVEL
        self._buffer[layout.COMMAND_MODE_BYTES] = layout.MODES
        self.idle()

    def idle(self) -> None:
        """Ask for nothing: no targets, no gains."""
        motor = self.record["motor"]
        motor["q"], motor["dq"] = layout.NO_POSITION, layout.NO_VELOCITY
        motor["tau"] = motor["kp"] = motor["kd"] = 0.0

    def fill(self, targets: JointTargets) -> None:
        """Put the 19 joints' targets into their motors' slots."""
        self._words[_TARGETS] = np.concatenate(
            [
                targets.position,
                targets.velocity,
                targets.torque,
                targets.stiffness,
                targets.damping,
            ]
        )

    def payload(self) -> bytes:
        """Return the CDR payload with its CRC."""
        self._crc[0] = layout.COMMAND.crc(self._buffer.tobytes())
        return self._buffer.tobytes()
