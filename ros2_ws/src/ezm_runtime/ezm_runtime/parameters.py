"""The policy node's parameters: default, what it is, and whether it is fixed once configured."""

from __future__ import annotations

PARAMETERS: dict[str, tuple[bool | int | float | str, str, bool]] = {
    "policy": ("models/h1/policy.onnx", "ONNX file with its PolicySpec inside", True),
    "engine": ("ort", "ort | tensorrt", True),
    "task": ("stand", "one of the policy's tasks", False),
    "heading": (0.0, "rad, world yaw wanted", False),
    "endpoint": ("", "ZeroMQ address of the robot process", True),
    "keys": ("", "folder of CURVE keys, for an endpoint that others can reach", True),
    "autostart": (False, "ask for POLICY on activation; never on a real robot", True),
    "parent": (0, "process without which this one ends; 0: none", True),
    "state_rate": (5.0, "Hz, ~/state", True),
    "robot_timeout": (5.0, "s without a word from the robot process: the node ends", True),
    "cmd_vel_timeout": (0.5, "s, after which /cmd_vel counts as zero", True),
}
