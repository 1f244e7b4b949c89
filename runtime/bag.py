"""Read a recording: the ticks of the control loop and the states of the robot process, as arrays.

By topic and by joint name, so that the order of joints in a message does not matter. Knows MCAP and
ROS 2 messages, and nothing of replaying or plotting.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from runtime import h1
from runtime.modes import Mode
from runtime.recorder import PROCESS
from runtime.state import Command, RobotState

_UNKNOWN = np.full(3, np.nan)
_JOINTS = ("/joint_states", "/h1/written", "/ezm_policy/joint_targets")
_JOINTS += ("/ezm_policy/observed/joint_states",)


class BagError(ValueError):
    """A file is no recording, or lacks what is needed."""


@dataclass(frozen=True)
class RecordedTick:
    """One control tick: what was asked, and the answer if there was one."""

    time: float  # s since the epoch
    seq: int
    mode: Mode
    command: Command
    state: RobotState
    position: np.ndarray | None  # [19] rad, the targets that were sent


@dataclass
class Bag:
    """A recording. Rows are the robot process's ticks, 2 ms apart where none is missing."""

    path: Path
    about: dict[str, str]
    ticks: list[RecordedTick] = field(default_factory=list)
    time: np.ndarray = field(default_factory=lambda: np.zeros(0))  # [n] s since the epoch
    process: dict[str, np.ndarray] = field(default_factory=dict)  # each [n], see recorder.PROCESS
    position: np.ndarray = field(default_factory=lambda: np.zeros((0, 19)))  # [n, 19] rad
    velocity: np.ndarray = field(default_factory=lambda: np.zeros((0, 19)))  # [n, 19] rad/s
    torque: np.ndarray = field(default_factory=lambda: np.zeros((0, 19)))  # [n, 19] N m
    written: np.ndarray = field(default_factory=lambda: np.zeros((0, 19)))  # [n, 19] rad
    torso: np.ndarray = field(default_factory=lambda: np.zeros((0, 7)))  # [n, 7] w x y z, rad/s
    events: list[tuple[float, dict[str, Any]]] = field(default_factory=list)

    @property
    def in_policy(self) -> np.ndarray:
        """Return which rows were in POLICY, [n] bool."""
        return self.process["mode"] == Mode.POLICY


def load(path: str | Path) -> Bag:
    """Read a recording, or raise BagError with a sentence."""
    path = Path(path)
    if not path.is_file():
        raise BagError(f"{path} does not exist")
    bag = Bag(path, _about(path))
    rows: dict[str, dict[int, Any]] = {}
    try:
        for topic, time, message in messages(path):
            rows.setdefault(topic, {})[time] = _plain(topic, message)
    except Exception as error:  # the reader's own kinds, zlib's, struct's
        raise BagError(f"{path} is damaged or no recording: {error}") from None
    if "/h1/process" not in rows and "/ezm_policy/command" not in rows:
        raise BagError(f"{path} has neither /h1/process nor /ezm_policy/command: {sorted(rows)}")
    _fill_rows(bag, rows)
    _fill_ticks(bag, rows)
    bag.events = [(time * 1e-9, said) for time, said in sorted(rows.get("/h1/events", {}).items())]
    return bag


def messages(path: Path) -> Iterator[tuple[str, int, Any]]:
    """Yield (topic, time in ns, decoded message) in the order of time."""
    from mcap.reader import make_reader
    from mcap_ros2.decoder import DecoderFactory

    with path.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        for _, channel, message, decoded in reader.iter_decoded_messages():
            yield channel.topic, message.log_time, decoded


def _about(path: Path) -> dict[str, str]:
    from mcap.reader import make_reader

    try:
        with path.open("rb") as file:
            for item in make_reader(file).iter_metadata():
                if item.name == "ezm":
                    return dict(item.metadata)
    except Exception as error:
        raise BagError(f"{path} is damaged or no recording: {error}") from None
    return {}


def _plain(topic: str, message: Any) -> Any:
    """Take out of a message what is wanted, joints in our own order."""
    if topic in _JOINTS:
        names = [name.removesuffix("_joint") for name in message.name]
        missing = [name for name in h1.JOINT_NAMES if name not in names]
        if missing:
            raise BagError(f"{topic}: joints {missing} are missing")
        order = [names.index(name) for name in h1.JOINT_NAMES]
        return np.array([message.position, message.velocity, message.effort])[:, order]
    if topic.endswith("/imu") or topic == "/imu/data":
        q, rate = message.orientation, message.angular_velocity
        return np.array([q.w, q.x, q.y, q.z, rate.x, rate.y, rate.z])
    if topic.endswith("odom"):
        return _motion(message)
    if topic == "/h1/process":
        return np.array(message.data)
    return json.loads(message.data) if hasattr(message, "data") else message


def _motion(message: Any) -> np.ndarray:
    """Return the world position and world velocity of an Odometry, [6]."""
    p, q = message.pose.pose.position, message.pose.pose.orientation
    v, axis = message.twist.twist.linear, np.array([q.x, q.y, q.z])
    inside = np.array([v.x, v.y, v.z])
    aside = 2.0 * np.cross(axis, inside)
    return np.array([p.x, p.y, p.z, *(inside + q.w * aside + np.cross(axis, aside))])


def _fill_rows(bag: Bag, rows: dict[str, dict[int, Any]]) -> None:
    needed = ("/h1/process", "/joint_states", "/h1/written", "/imu/data")
    if any(topic not in rows for topic in needed):
        return
    times = sorted(set.intersection(*(set(rows[topic]) for topic in needed)))
    bag.time = np.array(times) * 1e-9
    table = np.array([rows["/h1/process"][time] for time in times])
    bag.process = dict(zip(PROCESS, table.T, strict=True))
    joints = np.array([rows["/joint_states"][time] for time in times])
    bag.position, bag.velocity, bag.torque = joints[:, 0], joints[:, 1], joints[:, 2]
    bag.written = np.array([rows["/h1/written"][time][0] for time in times])
    bag.torso = np.array([rows["/imu/data"][time] for time in times])


def _fill_ticks(bag: Bag, rows: dict[str, dict[int, Any]]) -> None:
    commands = rows.get("/ezm_policy/command", {})
    joints = rows.get("/ezm_policy/observed/joint_states", {})
    imus = rows.get("/ezm_policy/observed/imu", {})
    motions = rows.get("/ezm_policy/observed/odom", {})
    targets = rows.get("/ezm_policy/joint_targets", {})
    for time in sorted(set(commands) & set(joints) & set(imus)):
        said, joint, imu = commands[time], joints[time], imus[time]
        place = motions.get(time, np.concatenate([_UNKNOWN, _UNKNOWN]))
        velocity = tuple(float(value) for value in said["velocity"])
        bag.ticks.append(
            RecordedTick(
                time=time * 1e-9,
                seq=said["seq"],
                mode=Mode[said["mode"]],
                command=Command(said["task"], said["heading"], velocity),  # type: ignore[arg-type]
                state=RobotState(
                    time * 1e-9,
                    imu[:4],
                    imu[4:],
                    joint[0],
                    joint[1],
                    joint[2],
                    place[:3],
                    place[3:],
                ),
                position=targets[time][0] if said["answered"] and time in targets else None,
            )
        )
