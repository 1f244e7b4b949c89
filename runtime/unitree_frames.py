"""LowCmd and LowState of the Unitree H1, to the byte: layouts, CRC, motor map, torso to pelvis.

Each message has two layouts of the same size: the C struct, over which the CRC runs, and the CDR
payload that travels (4 bytes of header, then other paddings). Knows no DDS.
Source: unitree_go messages and the SDK's CRC, as described by their figures.
"""

from __future__ import annotations

import zlib

import numpy as np

from runtime import h1
from runtime.state import JointTargets, RobotState

MOTORS = 20
HEADER = b"\x00\x01\x00\x00"  # CDR, little-endian
NO_POSITION, NO_VELOCITY = 2.146e9, 16000.0  # "no target" in a motor command
_STRONG, _WEAK = 0x0A, 0x01
MODES = np.array([_STRONG] * 10 + [_WEAK] * 10, np.uint8)
SLOTS = np.array([h1.MOTOR_INDEX[name] for name in h1.JOINT_NAMES])  # joint -> motor
_WAIST = h1.JOINT_NAMES.index("torso")
BUTTONS = ("R1", "L1", "start", "select", "R2", "L2", "F1", "F2", "A", "B", "X", "Y")

_MOTOR_CMD = [("q", "<f4"), ("dq", "<f4"), ("tau", "<f4"), ("kp", "<f4"), ("kd", "<f4")]
_MOTOR_STATE = [
    (name, "<f4") for name in ("q", "dq", "ddq", "tau_est", "q_raw", "dq_raw", "ddq_raw")
]


def _layout(fields: dict[str, tuple[object, int]], size: int) -> np.dtype:
    names = list(fields)
    formats, offsets = [fields[n][0] for n in names], [fields[n][1] for n in names]
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})


def _motors(
    kind: list[tuple[str, str]], extra: dict[str, tuple[object, int]], size: int
) -> np.dtype:
    row: dict[str, tuple[object, int]] = {"mode": ("u1", 0)}
    row |= {name: (code, 4 + 4 * i) for i, (name, code) in enumerate(kind)}
    return _layout(row | extra, size)


CMD_MOTOR = _motors(_MOTOR_CMD, {}, 36)
STATE_MOTOR = _motors(_MOTOR_STATE, {"temperature": ("i1", 32), "lost": ("<u4", 36)}, 48)

# the C structs; fields that are always zero are left out
CMD = _layout(
    {
        "head": ("2u1", 0),
        "level_flag": ("u1", 2),
        "motor": ((CMD_MOTOR, MOTORS), 24),
        "gpio": ("u1", 802),
        "crc": ("<u4", 808),
    },
    812,
)
STATE_SIZE = 1180

# where the same things lie in the CDR body, behind the header
_CMD_MOTORS, _CMD_CRC, _FIRST_MODE = 20, 804, 22
STATE = _layout(
    {
        "quaternion": ("4<f4", 24),  # w x y z, torso
        "gyroscope": ("3<f4", 40),
        "accelerometer": ("3<f4", 52),
        "motor": ((STATE_MOTOR, MOTORS), 76),
        "tick": ("<u4", 1096),
        "wireless_remote": ("40u1", 1100),
        "crc": ("<u4", 1172),
    },
    1176,
)
# runs of bytes that the two layouts share: (CDR body, struct, length)
_STATE_RUNS = [
    (0, 0, 22),  # head .. bandwidth
    (24, 24, 53),  # imu with its temperature
    (77, 80, 1),  # the first motor's mode lies in a padding
    *((80 + 48 * i, 84 + 48 * i, 44) for i in range(MOTORS)),  # q .. reserve
    *((76 + 48 * i, 80 + 48 * i, 1) for i in range(1, MOTORS)),  # the other modes
    (1036, 1040, 44),  # battery
    (1080, 1084, 61),  # feet, tick, remote, bit flag
    (1144, 1148, 6),  # adc, temperatures
    (1152, 1156, 24),  # power, fans, reserve, crc
]
_FROM_CDR = np.concatenate([np.arange(a, a + n) for a, _, n in _STATE_RUNS])
_TO_STRUCT = np.concatenate([np.arange(b, b + n) for _, b, n in _STATE_RUNS])
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def crc32(struct: bytes) -> int:
    """Return the CRC of a packed struct whose last word is the CRC itself.

    Polynomial 0x04C11DB7, start 0xFFFFFFFF, no reflection, no final xor, over the 32-bit
    little-endian words, most significant bit first; done with zlib on bit-reversed bytes.
    """
    words = np.frombuffer(struct[:-4], "<u4").byteswap().tobytes()
    mirrored = zlib.crc32(words.translate(_REVERSED)) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


class CommandFrame:
    """A LowCmd, used again for every write."""

    def __init__(self) -> None:
        self._struct = np.zeros(1, CMD)
        self._struct["head"], self._struct["level_flag"] = (0xFE, 0xEF), 0xFF
        self._motor = self._struct["motor"][0]
        self._motor["mode"] = MODES
        self._body = np.zeros(808, np.uint8)
        self.idle()

    def idle(self) -> None:
        """Ask for nothing: no targets, no gains."""
        for name, value in (
            ("q", NO_POSITION),
            ("dq", NO_VELOCITY),
            ("tau", 0),
            ("kp", 0),
            ("kd", 0),
        ):
            self._motor[name] = value

    def fill(self, targets: JointTargets) -> None:
        """Put the 19 joints' targets into their motors' slots; the unused slot stays idle."""
        motor = self._motor
        motor["q"][SLOTS], motor["dq"][SLOTS] = targets.position, targets.velocity
        motor["tau"][SLOTS] = targets.torque
        motor["kp"][SLOTS], motor["kd"][SLOTS] = targets.stiffness, targets.damping

    def struct(self) -> bytes:
        """Return the C struct with its CRC."""
        self._struct["crc"] = crc32(self._struct.tobytes())
        return self._struct.tobytes()

    def payload(self) -> bytes:
        """Return the CDR payload with its CRC."""
        struct = np.frombuffer(self.struct(), np.uint8)
        body = self._body
        body[0:20] = struct[0:20]
        body[_CMD_MOTORS : _CMD_MOTORS + 36 * MOTORS] = struct[24 : 24 + 36 * MOTORS]
        body[20:24] = 0
        body[_FIRST_MODE] = MODES[0]
        body[740:799] = struct[744:803]  # battery, remote, leds, fan, gpio
        body[800:808] = struct[804:812]  # reserve, crc
        return HEADER + body.tobytes()


def state_struct(payload: bytes) -> bytes:
    """Return the C struct of a LowState payload, for its CRC."""
    struct = np.zeros(STATE_SIZE, np.uint8)
    struct[_TO_STRUCT] = np.frombuffer(payload, np.uint8, offset=4)[_FROM_CDR]
    return struct.tobytes()


def state_is_whole(payload: bytes) -> bool:
    """Return True if a LowState payload has the right size, byte order and CRC."""
    if len(payload) != STATE_SIZE or payload[:2] != HEADER[:2]:
        return False
    struct = state_struct(payload)
    return crc32(struct) == int.from_bytes(struct[-4:], "little")


def robot_state(payload: bytes, stamp: float) -> RobotState:
    """Read the 19 joints and the pelvis out of a whole LowState payload."""
    record = np.frombuffer(payload, STATE, count=1, offset=4)[0]
    motor = record["motor"]
    position = motor["q"][SLOTS].astype(np.float64)
    velocity = motor["dq"][SLOTS].astype(np.float64)
    orientation, rate = pelvis_from_torso(
        record["quaternion"].astype(np.float64),
        record["gyroscope"].astype(np.float64),
        float(position[_WAIST]),
        float(velocity[_WAIST]),
    )
    return RobotState(
        stamp=stamp,
        orientation=orientation,
        angular_velocity=rate,
        joint_position=position,
        joint_velocity=velocity,
        joint_torque=motor["tau_est"][SLOTS].astype(np.float64),
    )


def pelvis_from_torso(
    quaternion: np.ndarray, gyroscope: np.ndarray, waist: float, waist_rate: float
) -> tuple[np.ndarray, np.ndarray]:
    """Turn the torso IMU's readings into the pelvis's: the waist turns about the common z axis.

    quaternion [4] w x y z and gyroscope [3] rad/s of the torso; waist rad and rad/s.
    """
    w, x, y, z = quaternion
    c, s = np.cos(0.5 * waist), np.sin(0.5 * waist)
    orientation = np.array([w * c + z * s, x * c - y * s, y * c + x * s, z * c - w * s])
    cos, sin = np.cos(waist), np.sin(waist)
    gx, gy, gz = gyroscope
    rate = np.array([cos * gx - sin * gy, sin * gx + cos * gy, gz - waist_rate])
    return orientation, rate


def buttons(payload: bytes) -> frozenset[str]:
    """Return the names of the remote's pressed buttons."""
    remote = np.frombuffer(payload, STATE, count=1, offset=4)[0]["wireless_remote"]
    keys = int(remote[2]) | int(remote[3]) << 8
    return frozenset(name for bit, name in enumerate(BUTTONS) if keys >> bit & 1)


def motor_faults(payload: bytes, hottest: int = 90) -> str:
    """Name the first motor that is too hot, degC, or an empty string."""
    motor = np.frombuffer(payload, STATE, count=1, offset=4)[0]["motor"][SLOTS]
    worst = int(motor["temperature"].argmax())
    degrees = int(motor["temperature"][worst])
    return f"{h1.JOINT_NAMES[worst]} at {degrees} degC" if degrees > hottest else ""
