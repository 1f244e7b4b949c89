"""Record a run as MCAP with ROS 2 messages; Foxglove and PlotJuggler open it, replay repeats it.

    python -m runtime.recorder endpoint=ipc:///tmp/h1 out=run.mcap

A process of its own that only listens: to every 2 ms state of the robot process, and to every tick
of a control loop that offers them. A full disk ends the recording and nothing else.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime import frames, h1, ros_cdr
from runtime.cli import parse_or_exit
from runtime.frames import Kind
from runtime.listen import Ending, ListenConfig
from runtime.modes import Mode
from runtime.realtime import relax
from runtime.tick_link import Listener
from runtime.unitree_frames import torso_from_pelvis

_WAIST = h1.JOINT_NAMES.index("torso")
PROCESS = ("seq", "stamp", "now", "mode", "goal", "target_seq", "target_age", "late_ticks")
PROCESS += ("tick_us", "findings")  # numbers of the robot process, in /h1/process
SLOW = 10  # every how many states /odom is written


@dataclass(frozen=True)
class RecorderConfig(ListenConfig):
    """Where to, and what else to write down."""

    out: str = "run.mcap"  # the recording; never overwritten
    note: str = ""  # anything, kept in the file's metadata
    policy: str = ""  # kept in the metadata, for replay
    server: str = ""  # words of the robot process, by commas; kept in the metadata, for replay
    robot: str = "mujoco"  # kept in the metadata: whose limits the guard had


class Recording:
    """An MCAP file being written: frames of the wire in, ROS 2 messages out."""

    def __init__(self, path: Path, about: dict[str, str]) -> None:
        from mcap.writer import Writer

        if path.exists():
            raise FileExistsError(f"{path} exists already")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.states, self.ticks = path, 0, 0
        self._file = path.open("wb")
        self._writer: Any = Writer(self._file)
        self._writer.start(profile="ros2", library="ezm")
        self._writer.add_metadata("ezm", about)
        self._schemas: dict[str, int] = {}
        self._channels: dict[str, int] = {}
        self._epoch = time.time_ns() - time.monotonic_ns()  # ns, of the monotonic clock's zero
        self._joints = ros_cdr.joint_state("pelvis", h1.JOINT_NAMES)
        self._torso, self._pelvis = ros_cdr.imu("torso_link"), ros_cdr.imu("pelvis")
        self._odometry = ros_cdr.odometry("odom", "pelvis")
        self._process = ros_cdr.numbers(PROCESS)
        self._event: dict[str, Any] = {}

    def add(self, kind: Kind, data: bytes) -> None:
        """Write down one frame of the wire."""
        record = frames.decode(data, kind)[0]
        if kind is Kind.STATE:
            self._state(record)
        elif kind is Kind.TICK:
            self._tick(record)

    def close(self) -> None:
        """Finish the file."""
        try:
            self._writer.finish()
        finally:
            self._file.close()

    def _state(self, record: np.void) -> None:
        self.states += 1
        now = self._time(float(record["now"]))
        position, velocity = record["joint_position"], record["joint_velocity"]
        row = position, velocity, record["joint_torque"]
        self._write("/joint_states", self._joints, now, *row)
        torso, turning = torso_from_pelvis(
            record["orientation"],
            record["angular_velocity"],
            float(position[_WAIST]),
            float(velocity[_WAIST]),
        )
        self._write("/imu/data", self._torso, now, _xyzw(torso), turning)
        written = record["target_position"], *np.zeros((2, h1.NUM_JOINTS))
        self._write("/h1/written", self._joints, now, *written)
        self._write("/h1/process", self._process, now, [float(record[name]) for name in PROCESS])
        if self.states % SLOW == 1 and np.isfinite(record["base_position"]).all():
            self._write("/odom", self._odometry, now, *_motion(record))
        event = {name: frames.text(record[name]) for name in ("task", "reason", "fault")}
        event |= {"mode": Mode(record["mode"]).name, "goal": Mode(record["goal"]).name}
        # a monitor that fires again and again at one joint is one event; its value is the first
        known = event | {"fault": event["fault"].rstrip(".0123456789e+-> ")}
        if known != self._event:
            self._event = known
            self._text("/h1/events", now, event)

    def _tick(self, record: np.void) -> None:
        self.ticks += 1
        now, name = self._time(float(record["stamp"])), "/ezm_policy"
        row = record["joint_position"], record["joint_velocity"], record["joint_torque"]
        self._write(f"{name}/observed/joint_states", self._joints, now, *row)
        imu = _xyzw(record["orientation"]), record["angular_velocity"]
        self._write(f"{name}/observed/imu", self._pelvis, now, *imu)
        if np.isfinite(record["base_position"]).all():
            self._write(f"{name}/observed/odom", self._odometry, now, *_motion(record))
        if record["answered"]:
            nothing = np.zeros((2, h1.NUM_JOINTS))
            self._write(f"{name}/joint_targets", self._joints, now, record["position"], *nothing)
        command = {
            "seq": int(record["seq"]),
            "answered": bool(record["answered"]),
            "mode": Mode(record["mode"]).name,
            "state_seq": int(record["state_seq"]),
            "task": frames.text(record["task"]),
            "heading": float(record["heading"]),
            "velocity": record["velocity"].tolist(),
        }
        self._text(f"{name}/command", now, command)

    def _write(self, topic: str, template: ros_cdr.Template, now: int, *rows: Any) -> None:
        self._add(topic, template.kind, now, template.fill(now, *rows))

    def _text(self, topic: str, now: int, value: dict[str, Any]) -> None:
        self._add(topic, "std_msgs/msg/String", now, ros_cdr.text(json.dumps(value)))

    def _add(self, topic: str, kind: str, now: int, data: bytes) -> None:
        if kind not in self._schemas:
            definition = ros_cdr.DEFINITIONS[kind].encode()
            self._schemas[kind] = self._writer.register_schema(kind, "ros2msg", definition)
        if topic not in self._channels:
            self._channels[topic] = self._writer.register_channel(
                topic, "cdr", self._schemas[kind], {"offered_qos_profiles": ""}
            )
        self._writer.add_message(self._channels[topic], log_time=now, publish_time=now, data=data)

    def _time(self, monotonic: float) -> int:
        return self._epoch + round(monotonic * 1e9)


def _xyzw(quaternion: np.ndarray) -> np.ndarray:
    return np.roll(quaternion, -1)


def _motion(record: np.void) -> tuple[Any, ...]:
    """Return position, orientation, linear and angular velocity of the pelvis for an Odometry."""
    w, axis = record["orientation"][0], -record["orientation"][1:]
    moving = record["base_linear_velocity"]
    aside = 2.0 * np.cross(axis, moving)
    inside = moving + w * aside + np.cross(axis, aside)
    orientation = _xyzw(record["orientation"])
    return record["base_position"], orientation, inside, record["angular_velocity"]


def record(config: RecorderConfig, ending: Ending) -> Recording:
    """Record until the end, or until the robot process has been silent for `patience` s."""
    about = {name: getattr(config, name) for name in ("note", "policy", "server", "robot")}
    recording, listener = Recording(Path(config.out), about), Listener(config.endpoint)
    heard, begin = 0.0, time.monotonic()
    try:
        while not ending:
            found = listener.receive(0.1)
            for kind, data in found:
                recording.add(kind, data)
            heard = time.monotonic() if found else heard
            silent = time.monotonic() - (heard or begin)
            if silent > (config.patience if heard else 20.0):
                break
    finally:
        listener.close()
        recording.close()
    return recording


def main() -> None:
    """Record; say how much."""
    config = parse_or_exit(RecorderConfig(), sys.argv[1:], "runtime.recorder", __doc__ or "")
    relax()
    if config.keys:
        sys.exit("runtime.recorder: records on the robot's own machine only; keys are not used")
    try:
        recording = record(config, Ending(config.parent))
    except ImportError as error:
        sys.exit(f"runtime.recorder: no recording: {error} (pip install 'ezm[record]')")
    except OSError as error:
        sys.exit(f"runtime.recorder: recording ended: {error}; the robot goes on")
    said = {"file": config.out, "states": recording.states, "ticks": recording.ticks}
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
