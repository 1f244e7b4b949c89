"""Where everything lies in the H1's LowCmd and LowState: two layouts each, the motor map, the CRC.

A message travels as CDR (4 bytes of header, then a body with CDR's paddings); its CRC is taken over
the C struct, which is as long but padded elsewhere. What maps one to the other is computed here,
once, so that a message costs a few array operations. Knows no DDS and no robot process.
Source: unitree_go messages and the SDK's CRC, as described by their figures.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from runtime import h1

MOTORS = 20
HEADER = b"\x00\x01\x00\x00"  # CDR, little-endian
NO_POSITION, NO_VELOCITY = 2.146e9, 16000.0  # "no target" in a motor command
STRONG, WEAK = 0x0A, 0x01  # motor modes
MODES = np.array([STRONG] * 10 + [WEAK] * 10, np.uint8)
SLOTS = np.array([h1.MOTOR_INDEX[name] for name in h1.JOINT_NAMES])  # joint -> motor
UNUSED_SLOT = 9
HEAD, LOW_LEVEL = (0xFE, 0xEF), 0xFF

_Runs = list[tuple[int, int, int]]  # bytes both layouts share: (CDR body, struct, length)

_STATE_RUNS: _Runs = [
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
_CMD_RUNS: _Runs = [
    (0, 0, 22),  # head .. bandwidth
    (22, 24, 1),  # the first motor's mode lies in a padding
    *((24 + 36 * i, 28 + 36 * i, 32) for i in range(MOTORS)),  # q .. reserve
    *((20 + 36 * i, 24 + 36 * i, 1) for i in range(1, MOTORS)),  # the other modes
    (740, 744, 59),  # battery, remote, leds, fan, gpio
    (800, 804, 8),  # reserve, crc
]
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class Message:
    """One kind of message: its size and how its two layouts correspond."""

    size: int  # bytes of the CDR payload with header, and of the C struct: the same
    to_struct: np.ndarray  # [size] index into the payload of each struct byte; 0 where padded
    crc_order: np.ndarray  # [size - 4] the same, but each 32-bit word swapped, without the CRC

    @classmethod
    def of(cls, size: int, runs: _Runs) -> Message:
        """Compute the correspondence; payload byte 0 is a zero of the CDR header."""
        index = np.zeros(size, np.intp)
        for body, struct, length in runs:
            index[struct : struct + length] = np.arange(4 + body, 4 + body + length)
        swapped = index[:-4].reshape(-1, 4)[:, ::-1].reshape(-1).copy()
        return cls(size, index, swapped)

    def struct(self, payload: bytes) -> bytes:
        """Return the C struct of a payload."""
        return np.frombuffer(payload, np.uint8)[self.to_struct].tobytes()

    def crc(self, payload: bytes) -> int:
        """Return the CRC that belongs to a payload, whatever its own CRC field says."""
        return _reverse(self._mirrored(payload.translate(_REVERSED)))

    def whole(self, payload: bytes) -> bool:
        """Return True if a payload has the right size, byte order and CRC."""
        if len(payload) != self.size or payload[:4] != HEADER:
            return False
        mirror = payload.translate(_REVERSED)
        return self._mirrored(mirror) == int.from_bytes(mirror[-4:], "big")

    def _mirrored(self, mirror: bytes) -> int:
        """Return the CRC with its bits reversed, of bytes whose bits are reversed: zlib's kind."""
        ordered = np.frombuffer(mirror, np.uint8).take(self.crc_order)
        return zlib.crc32(ordered) ^ 0xFFFFFFFF  # type: ignore[arg-type]


def _reverse(value: int) -> int:
    """Reverse the 32 bits of a number."""
    return int.from_bytes(value.to_bytes(4, "big").translate(_REVERSED), "little")


def crc32(struct: bytes) -> int:
    """Return the CRC of a packed struct whose last word is the CRC itself.

    Polynomial 0x04C11DB7, start 0xFFFFFFFF, no reflection, no final xor, over the 32-bit
    little-endian words, most significant bit first; done with zlib on bit-reversed bytes.
    """
    words = np.frombuffer(struct[:-4], "<u4").byteswap().tobytes()
    return _reverse(zlib.crc32(words.translate(_REVERSED)) ^ 0xFFFFFFFF)


STATE = Message.of(1180, _STATE_RUNS)
COMMAND = Message.of(812, _CMD_RUNS)


def _record(fields: dict[str, tuple[object, int]], size: int) -> np.dtype:
    names = list(fields)
    formats, offsets = [fields[n][0] for n in names], [fields[n][1] for n in names]
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})


def _motor(names: tuple[str, ...], extra: dict[str, tuple[object, int]], size: int) -> np.dtype:
    row = {name: ("<f4", 4 + 4 * i) for i, name in enumerate(names)}
    return _record(row | extra, size)


_STATE_MOTOR = _motor(
    ("q", "dq", "ddq", "tau_est", "q_raw", "dq_raw", "ddq_raw"),
    {"temperature": ("u1", 32), "lost": ("<u4", 36)},
    48,
)
_CMD_MOTOR = _motor(("q", "dq", "tau", "kp", "kd"), {}, 36)

# The payloads as records, for what is not done 500 times a second: offsets count the CDR header.
# A motor's mode is not in its record: see MODE_BYTES.
STATE_RECORD = _record(
    {
        "head": ("2u1", 4),
        "level_flag": ("u1", 6),
        "version": ("2<u4", 16),
        "quaternion": ("4<f4", 28),  # w x y z, torso
        "gyroscope": ("3<f4", 44),  # rad/s
        "accelerometer": ("3<f4", 56),  # m/s2
        "rpy": ("3<f4", 68),
        "imu_temperature": ("u1", 80),
        "motor": ((_STATE_MOTOR, MOTORS), 80),
        "soc": ("u1", 1043),  # %
        "current": ("<i4", 1044),  # mA
        "tick": ("<u4", 1100),
        "wireless_remote": ("40u1", 1104),
        "power_v": ("<f4", 1156),
        "crc": ("<u4", 1176),
    },
    1180,
)
COMMAND_RECORD = _record(
    {
        "head": ("2u1", 4),
        "level_flag": ("u1", 6),
        "motor": ((_CMD_MOTOR, MOTORS), 24),
        "gpio": ("u1", 802),
        "crc": ("<u4", 808),
    },
    812,
)
STATE_MODE_BYTES = np.array([81, *(80 + 48 * i for i in range(1, MOTORS))])  # of the payload
COMMAND_MODE_BYTES = np.array([26, *(24 + 36 * i for i in range(1, MOTORS))])
