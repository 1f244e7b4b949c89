"""The message types of rt/lowcmd and rt/lowstate, as DDS announces them.

Samples stay the bytes that travel; the fields are for the type's description only, and in the order
of the wire. No postponed annotations here: the DDS binding reads them as types.
"""

# pyright: reportMissingImports=false, reportGeneralTypeIssues=false, reportAttributeAccessIssue=false
# pyright: reportInvalidTypeForm=false, reportCallIssue=false

from dataclasses import dataclass
from typing import Any, TypeVar

from cyclonedds.idl import IdlStruct
from cyclonedds.idl.types import array, float32, int16, int32, uint8, uint16, uint32

Message = TypeVar("Message", bound=type)


def as_bytes(message: Message) -> Message:
    """Make samples of a message type carry the payload in `raw`, neither parsed nor built.

    A decorator, because the binding takes a base class for a base message.
    """

    def serialize(self: Any, buffer: Any = None, endianness: Any = None, **version: Any) -> bytes:
        return self.raw

    def deserialize(cls: Any, data: bytes, has_header: bool = True, **version: Any) -> Any:
        sample = object.__new__(cls)
        sample.raw = bytes(data)
        return sample

    message.serialize = serialize
    message.deserialize = classmethod(deserialize)
    return message


@dataclass
class BmsCmd(IdlStruct, typename="unitree_go.msg.dds_.BmsCmd_"):
    """Battery command."""

    off: uint8
    reserve: array[uint8, 3]


@dataclass
class MotorCmd(IdlStruct, typename="unitree_go.msg.dds_.MotorCmd_"):
    """One motor's command."""

    mode: uint8
    q: float32
    dq: float32
    tau: float32
    kp: float32
    kd: float32
    reserve: array[uint32, 3]


@as_bytes
@dataclass
class LowCmd(IdlStruct, typename="unitree_go.msg.dds_.LowCmd_"):
    """What the drives are told."""

    head: array[uint8, 2]
    level_flag: uint8
    frame_reserve: uint8
    sn: array[uint32, 2]
    version: array[uint32, 2]
    bandwidth: uint16
    motor_cmd: array[MotorCmd, 20]
    bms_cmd: BmsCmd
    wireless_remote: array[uint8, 40]
    led: array[uint8, 12]
    fan: array[uint8, 2]
    gpio: uint8
    reserve: uint32
    crc: uint32


@dataclass
class ImuState(IdlStruct, typename="unitree_go.msg.dds_.IMUState_"):
    """The torso's IMU."""

    quaternion: array[float32, 4]
    gyroscope: array[float32, 3]
    accelerometer: array[float32, 3]
    rpy: array[float32, 3]
    temperature: uint8


@dataclass
class MotorState(IdlStruct, typename="unitree_go.msg.dds_.MotorState_"):
    """One motor's state."""

    mode: uint8
    q: float32
    dq: float32
    ddq: float32
    tau_est: float32
    q_raw: float32
    dq_raw: float32
    ddq_raw: float32
    temperature: uint8
    lost: uint32
    reserve: array[uint32, 2]


@dataclass
class BmsState(IdlStruct, typename="unitree_go.msg.dds_.BmsState_"):
    """The battery's state."""

    version_high: uint8
    version_low: uint8
    status: uint8
    soc: uint8
    current: int32
    cycle: uint16
    bq_ntc: array[uint8, 2]
    mcu_ntc: array[uint8, 2]
    cell_vol: array[uint16, 15]


@as_bytes
@dataclass
class LowState(IdlStruct, typename="unitree_go.msg.dds_.LowState_"):
    """What the robot measures."""

    head: array[uint8, 2]
    level_flag: uint8
    frame_reserve: uint8
    sn: array[uint32, 2]
    version: array[uint32, 2]
    bandwidth: uint16
    imu_state: ImuState
    motor_state: array[MotorState, 20]
    bms_state: BmsState
    foot_force: array[int16, 4]
    foot_force_est: array[int16, 4]
    tick: uint32
    wireless_remote: array[uint8, 40]
    bit_flag: uint8
    adc_reel: float32
    temperature_ntc1: uint8
    temperature_ntc2: uint8
    power_v: float32
    power_a: float32
    fan_frequency: array[uint16, 4]
    reserve: uint32
    crc: uint32
