"""The body of the H1's double: drives that obey LowCmd, sensors that make LowState, bad luck.

What a real H1's computer and drives do with the bytes, on the simulated body of `MujocoRobot`:
PD at every physics step, modes, CRC, what happens when commands stop. Knows no DDS; time comes in.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from runtime import h1
from runtime import unitree_layout as layout
from runtime.mujoco_robot import MujocoRobot
from runtime.state import JointTargets, RobotState
from runtime.unitree_frames import BUTTONS, torso_from_pelvis

_WAIST = h1.JOINT_NAMES.index("torso")
LOST = ("keep", "damp", "limp")


@dataclass(frozen=True)
class BodyConfig:
    """What the double's drives, sensors and cables are like."""

    seed: int = 0  # of noise and losses
    state_latency: float = 0.0  # s, from the sensors to the network
    command_latency: float = 0.0  # s, from the network to the drives
    state_loss: float = 0.0  # probability that a state is never sent
    command_loss: float = 0.0  # probability that a command is never seen
    spoiled: float = 0.0  # probability that a state's bits are turned after its CRC
    position_noise: float = 0.0  # rad, standard deviation
    velocity_noise: float = 0.0  # rad/s
    gyro_noise: float = 0.0  # rad/s
    tilt_noise: float = 0.0  # rad, of the IMU's orientation
    hang: float = 0.05  # m above the start pose on the ground
    command_timeout: float = 0.1  # s without a good command; nobody knows the real drives'
    command_lost: str = "keep"  # then the drives keep | damp | limp; keep is the worst that may be

    def __post_init__(self) -> None:
        """Refuse what the drives cannot do."""
        if self.command_lost not in LOST:
            raise ValueError(f"expected one of {list(LOST)}")


class StateFrame:
    """A LowState, used again for every message."""

    def __init__(self) -> None:
        self._buffer = np.zeros(layout.STATE.size, np.uint8)
        self._buffer[:4] = np.frombuffer(layout.HEADER, np.uint8)
        self.record = self._buffer.view(layout.STATE_RECORD)[0]
        self.record["head"], self.record["level_flag"] = layout.HEAD, layout.LOW_LEVEL
        self.record["motor"]["temperature"], self.record["soc"] = 40, 90
        self._buffer[layout.STATE_MODE_BYTES] = layout.MODES

    def fill(self, state: RobotState, tick: int) -> None:
        """Put a state in, the IMU as the torso feels it; `tick`: ms."""
        record, motor = self.record, self.record["motor"]
        motor["q"][layout.SLOTS] = state.joint_position
        motor["dq"][layout.SLOTS] = state.joint_velocity
        motor["tau_est"][layout.SLOTS] = state.joint_torque
        waist, rate = float(state.joint_position[_WAIST]), float(state.joint_velocity[_WAIST])
        quaternion, gyroscope = torso_from_pelvis(
            state.orientation, state.angular_velocity, waist, rate
        )
        record["quaternion"], record["gyroscope"] = quaternion, gyroscope
        record["rpy"] = _roll_pitch_yaw(*quaternion.tolist())
        record["tick"] = tick & 0xFFFFFFFF

    def press(self, *names: str) -> None:
        """Press these buttons of the remote, and let go of all others."""
        unknown = set(names) - set(BUTTONS)
        if unknown:
            raise ValueError(f"buttons {sorted(unknown)} unknown; there are {list(BUTTONS)}")
        keys = sum(1 << BUTTONS.index(name) for name in set(names))
        self.record["wireless_remote"][2:4] = keys & 0xFF, keys >> 8

    def payload(self) -> bytes:
        """Return the CDR payload with its CRC."""
        self.record["crc"] = layout.STATE.crc(self._buffer.tobytes())
        return self._buffer.tobytes()


def _roll_pitch_yaw(w: float, x: float, y: float, z: float) -> tuple[float, float, float]:
    """Return the angles, rad, that a real IMU reports beside its quaternion."""
    roll = math.atan2(2.0 * (w * x + y * z), 1.0 - 2.0 * (x * x + y * y))
    pitch = math.asin(max(-1.0, min(1.0, 2.0 * (w * y - z * x))))
    return roll, pitch, math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))


@dataclass
class Drives:
    """Twenty motors: what they were told last, and what they do about it."""

    config: BodyConfig
    refused: int = 0  # commands of wrong size, CRC, head or level
    obeyed: int = 0
    _targets: JointTargets = field(default_factory=lambda: _limp())
    _heard: float = -math.inf  # s

    def hear(self, payload: bytes, now: float) -> bool:
        """Take a command if it is one; return whether it was."""
        record = np.frombuffer(payload, layout.COMMAND_RECORD)[0] if _sized(payload) else None
        good = record is not None and layout.COMMAND.whole(payload)
        if record is None or not good or tuple(record["head"]) != layout.HEAD:
            self.refused += 1
            return False
        if record["level_flag"] != layout.LOW_LEVEL:
            self.refused += 1
            return False
        self.obeyed += 1
        self._heard = now
        modes = np.frombuffer(payload, np.uint8)[layout.COMMAND_MODE_BYTES]
        self._targets = _obeyed(record["motor"], modes)
        return True

    def targets(self, now: float) -> JointTargets:
        """Return what the drives do now; without commands, what `command_lost` says."""
        if now - self._heard <= self.config.command_timeout or self.config.command_lost == "keep":
            return self._targets
        limp = _limp()
        if self.config.command_lost == "damp":
            limp.damping[:] = h1.DAMPING
        return limp


class Body:
    """Sensors, drives and cables around a simulated H1."""

    def __init__(self, config: BodyConfig) -> None:
        self.config = config
        self.robot = MujocoRobot(seed=config.seed)
        self.robot.data.qpos[2] += config.hang
        self.robot.catch()  # hanging; `release` lets it go where it is
        self.drives, self.frame = Drives(config), StateFrame()
        self.silent = self.frozen = False
        self.lowest = math.inf  # m, of the pelvis
        self._random = np.random.default_rng(config.seed)
        self._coming: deque[tuple[float, bytes]] = deque()
        self._going: deque[tuple[float, bytes]] = deque()
        self._steps = 0

    def command(self, payload: bytes, now: float) -> None:
        """A command has arrived at the robot's network socket."""
        if self._random.random() >= self.config.command_loss:
            self._coming.append((now + self.config.command_latency, payload))

    def step(self, now: float, ticks: int = 1) -> list[bytes]:
        """Let `ticks` 2 ms periods pass; return the states that leave for the network now."""
        while self._coming and self._coming[0][0] <= now:
            self.drives.hear(self._coming.popleft()[1], now)
        self.robot.write(self.drives.targets(now), ticks)
        self._steps += 0 if self.frozen else ticks
        self.lowest = min(self.lowest, float(self.robot.data.qpos[2]))
        if not self.silent and self._random.random() >= self.config.state_loss:
            self._going.append((now + self.config.state_latency, self._state()))
        leaving = []
        while self._going and self._going[0][0] <= now:
            leaving.append(self._going.popleft()[1])
        return leaving

    def _state(self) -> bytes:
        if not self.frozen:
            self.frame.fill(self._sensed(), 2 * self._steps)
        payload = self.frame.payload()
        if self.config.spoiled and self._random.random() < self.config.spoiled:
            at = int(self._random.integers(4, len(payload)))
            payload = payload[:at] + bytes([payload[at] ^ 0x10]) + payload[at + 1 :]
        return payload

    def _sensed(self) -> RobotState:
        """Return what the sensors say: the truth and their noise."""
        state, config, normal = self.robot.read(), self.config, self._random.normal
        if config.position_noise:
            state.joint_position += config.position_noise * normal(size=h1.NUM_JOINTS)
        if config.velocity_noise:
            state.joint_velocity += config.velocity_noise * normal(size=h1.NUM_JOINTS)
        if config.gyro_noise:
            state.angular_velocity += config.gyro_noise * normal(size=3)
        if config.tilt_noise:
            state.orientation[1:] += 0.5 * config.tilt_noise * normal(size=3)
            state.orientation /= np.linalg.norm(state.orientation)
        return state


def _sized(payload: bytes) -> bool:
    return len(payload) == layout.COMMAND.size


def _limp() -> JointTargets:
    zeros = np.zeros(h1.NUM_JOINTS)
    return JointTargets(0, 0.0, zeros, zeros.copy(), zeros.copy())


def _obeyed(motor: np.ndarray, modes: np.ndarray) -> JointTargets:
    """Return what 20 motor commands mean for the 19 joints: a motor in a wrong mode is off."""
    rows = {name: motor[name][layout.SLOTS].astype(np.float64) for name in motor.dtype.names or ()}
    on = (modes == layout.MODES)[layout.SLOTS]
    nowhere = rows["q"] == np.float32(layout.NO_POSITION)
    anyhow = rows["dq"] == np.float32(layout.NO_VELOCITY)
    return JointTargets(
        seq=0,
        stamp=0.0,
        position=np.where(nowhere, 0.0, rows["q"]),
        velocity=np.where(anyhow, 0.0, rows["dq"]) * on,
        torque=rows["tau"] * on,
        stiffness=np.where(nowhere, 0.0, rows["kp"]) * on,
        damping=np.where(anyhow, 0.0, rows["kd"]) * on,
    )
