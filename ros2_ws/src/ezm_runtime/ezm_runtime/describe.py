"""What has to be started for an H1 on ROS 2: said once, for the launch files and for bringup.

Knows command lines and parameters; starts nothing and imports no ROS.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.listen import view_module
from runtime.policy import find_policy

PACKAGE = "ezm_runtime"
VIEW = "view"  # the listener that people look at
NODE_NAME = "ezm_policy"
ROBOTS = ("mujoco", "unitree")
ROBOT_DOMAIN = 0  # where a real H1's own DDS lives
_HERE = Path(__file__).resolve().parent
_FIRST_PORT, _PORTS_PER_DOMAIN = 7400, 250  # DDSI-RTPS 9.6.1


def option(default: Any, text: str) -> Any:
    """Return a dataclass field that can explain itself."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Options:
    """What a person may choose, the same for `ros2 launch` and for bringup."""

    policy: str = option("models/h1/policy.onnx", "ONNX file with its PolicySpec inside")
    task: str = option("stand", "one of the policy's tasks, or words for it")
    phrases: str = option("spelling", "such words are understood by: spelling | meaning (an extra)")
    engine: str = option("ort", "ort | tensorrt")
    heading: float = option(0.0, "rad, world yaw wanted")
    endpoint: str = option("", "ZeroMQ address of the robot process; empty: a new ipc:// one")
    keys: str = option("", "folder of CURVE keys, for an endpoint that others can reach")
    seed: int = option(0, "of the simulated robot")
    view: str = option("", "mujoco: a window (simulation) | browser: a page (runtime.live)")
    video: str = option("", "write a film to this .mp4 (simulation); needs no screen")
    network_interface: str = option("", "network interface that the real robot is on, e.g. eth0")
    motion: str = option("check", "the real robot's own motion program: check | release | ignore")
    robot_domain: int = option(ROBOT_DOMAIN, "DDS domain of the real robot")
    record: str = option("auto", "auto (a real robot is recorded) | true | false | a file.mcap")
    server: str = option("", "words for the robot process, by commas: guard.rate_limit=20,…")


@dataclass(frozen=True)
class Line:
    """The processes of one control line."""

    robot_argv: tuple[str, ...]  # the robot process: no ROS in it
    node_parameters: dict[str, bool | int | float | str]  # the policy node's, over config/h1.yaml
    listeners: dict[str, tuple[str, ...]]  # window and film maker, if wanted: they only listen
    config: Path  # parameters that are the same for every run
    endpoint: str
    autostart: bool

    @property
    def node_argv(self) -> tuple[str, ...]:
        """Return how to start the node where there is no `ros2 run`."""
        pairs = (f"{name}:={_yaml(value)}" for name, value in self.node_parameters.items())
        return (
            *(sys.executable, "-m", f"{PACKAGE}.policy_node", "--ros-args"),
            *("--params-file", str(self.config)),
            *(word for pair in pairs for word in ("-p", pair)),
        )


def describe(robot: str, options: Options, *, folder: Path, parent: int) -> Line:
    """Return what to start for `robot`.

    `folder` takes the ipc socket of this run; both processes end by themselves when process
    `parent` is gone. Only the simulated robot starts by itself.
    """
    if robot not in ROBOTS:
        raise ValueError(f"robot '{robot}' unknown; there are {list(ROBOTS)}")
    simulated = robot == "mujoco"
    if not simulated and int(os.environ.get("ROS_DOMAIN_ID") or 0) == options.robot_domain:
        raise ValueError(
            f"ROS_DOMAIN_ID is {options.robot_domain}, the real robot's own: set another one, "
            "the two middlewares do not survive each other"
        )
    endpoint = options.endpoint or f"ipc://{folder}/{robot}"
    settings: dict[str, object] = {
        "robot": robot,
        "endpoint": endpoint,
        "task": options.task,
        "parent": parent,
    }
    keys = {"keys": str(Path(options.keys).absolute())} if options.keys else {}
    settings |= keys
    if simulated:
        settings["seed"] = options.seed
    else:
        settings |= _real(options)
    for word in filter(None, options.server.split(",")):
        name, _, value = word.partition("=")
        settings[name] = value
    listen: dict[str, object] = {"endpoint": endpoint, "parent": parent, **keys}
    listeners: dict[str, tuple[str, ...]] = {}
    module = view_module(options.view)
    if module:
        listeners[VIEW] = _argv(module, listen)
    if options.video:
        film = str(Path(options.video).absolute())
        listeners["film"] = _argv("runtime.record", {**listen, "video": film})
    recording = recording_file(robot, options.record)
    if recording:
        about = {"policy": find_policy(options.policy).absolute(), "robot": robot}
        about |= {"server": options.server} if options.server else {}
        listeners["recorder"] = _argv("runtime.recorder", {**listen, "out": recording, **about})
    return Line(
        robot_argv=_argv("runtime.server", settings),
        listeners=listeners,
        node_parameters={
            "policy": str(find_policy(options.policy).absolute()),
            "engine": options.engine,
            "task": options.task,
            "phrases": options.phrases,
            "heading": options.heading,
            "endpoint": endpoint,
            **keys,
            "autostart": simulated,
            "record": bool(recording),
            "parent": parent,
        },
        config=share() / "config" / "h1.yaml",
        endpoint=endpoint,
        autostart=simulated,
    )


def _real(options: Options) -> dict[str, object]:
    """Return the settings that only a real robot's process takes."""
    if not options.network_interface:
        here = sorted(os.listdir("/sys/class/net")) if os.path.isdir("/sys/class/net") else []
        raise ValueError(
            f"a real robot needs network_interface:=… (bringup: network_interface=…); here: {here}"
        )
    return {
        "interface": options.network_interface,
        "motion": options.motion,
        "domain": options.robot_domain,
    }


def recording_file(robot: str, record: str) -> str:
    """Return where to record to, or an empty string: `auto` records real robots only."""
    if record == "false" or (record == "auto" and robot == "mujoco"):
        return ""
    if record in ("auto", "true"):
        return str(Path(time.strftime(f"h1_{robot}_%Y%m%d_%H%M%S.mcap")).absolute())
    if not record.endswith(".mcap"):
        raise ValueError(f"record={record}: expected auto, true, false or a file ending in .mcap")
    return str(Path(record).absolute())


def share() -> Path:
    """Return the folder that holds config/: the source tree, the wheel, or colcon's."""
    for folder, sign in ((_HERE.parent, "package.xml"), (_HERE, "config/h1.yaml")):
        if (folder / sign).is_file():
            return folder
    from ament_index_python.packages import get_package_share_directory

    return Path(get_package_share_directory(PACKAGE))


def loopback_environment() -> dict[str, str]:
    """Return the variables that keep FastDDS on 127.0.0.1, without multicast.

    A person's own FastDDS profile or discovery setting is left alone.
    """
    chosen = {"FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"}
    if chosen & set(os.environ) or "ROS_AUTOMATIC_DISCOVERY_RANGE" in os.environ:
        return {}
    profile = str(_HERE / "fastdds_loopback.xml")
    return {
        **dict.fromkeys(sorted(chosen), profile),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "SYSTEM_DEFAULT",  # or ROS overrides the profile
    }


def free_domain(candidates: range | list[int] = range(0, 100)) -> int:
    """Return the first ROS domain on which nobody listens on this machine.

    The first participant of a domain takes a port that is fixed by the standard.
    """
    for domain in candidates:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", _FIRST_PORT + _PORTS_PER_DOMAIN * domain + 10))
            except OSError:
                continue
            return domain
    raise RuntimeError(f"no free ROS domain among {candidates}; set ROS_DOMAIN_ID")


def _argv(module: str, settings: dict[str, object]) -> tuple[str, ...]:
    words = (f"{name}={value}" for name, value in settings.items())
    return (sys.executable, "-m", module, *words)


def _yaml(value: bool | int | float | str) -> str:
    """Write a value so that ROS reads back the same type."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)  # YAML's double quotes are JSON's
    return str(value).lower() if isinstance(value, bool) else repr(value)
