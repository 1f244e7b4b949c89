"""The policy node's parameters: default, meaning, range, whether it is fixed once configured."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

from runtime.spoken import WAYS

Value = bool | int | float | str


@dataclass(frozen=True)
class Parameter:
    """One parameter. `low` and `high` bound numbers, `choices` bound words."""

    default: Value
    text: str  # with its unit
    fixed: bool = False  # once configured
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    def descriptor(self) -> ParameterDescriptor:
        """Return what ROS checks and `ros2 param describe` shows."""
        about = ParameterDescriptor(description=self.text)
        about.additional_constraints = "; ".join(
            [f"one of {list(self.choices)}"] * bool(self.choices)
            + ["fixed once the node is configured"] * self.fixed
        )
        if self.low is not None and self.high is not None:
            if isinstance(self.default, float):
                about.floating_point_range = [
                    FloatingPointRange(from_value=self.low, to_value=self.high, step=0.0)
                ]
            else:
                about.integer_range = [
                    IntegerRange(from_value=int(self.low), to_value=int(self.high), step=1)
                ]
        return about

    def refusal(self, name: str, value: object) -> str:
        """Say why a value is none for this parameter, or nothing; ROS itself checks ranges."""
        if self.choices and value not in self.choices:
            return f"{name} '{value}' unknown; there are {list(self.choices)}"
        if isinstance(value, float) and not math.isfinite(value):
            return f"{name} must be a finite number, got {value}"
        return ""


PARAMETERS: dict[str, Parameter] = {
    "policy": Parameter("models/h1/policy.onnx", "ONNX file with its PolicySpec inside", True),
    "engine": Parameter("ort", "what computes the policy", True, choices=("ort", "tensorrt")),
    "task": Parameter("stand", "one of the policy's tasks, or words for it: walk straight ahead"),
    "phrases": Parameter(
        "spelling", "how such words are understood; meaning needs an encoder", True, choices=WAYS
    ),
    "heading": Parameter(0.0, "rad, world yaw wanted", low=-math.tau, high=math.tau),
    "endpoint": Parameter("", "ZeroMQ address of the robot process", True),
    "keys": Parameter("", "folder of CURVE keys, for an endpoint that others can reach", True),
    "autostart": Parameter(False, "ask for POLICY on activation; refused by a real robot", True),
    "parent": Parameter(
        0, "process without which this one ends; 0: none", True, low=0, high=2**31 - 1
    ),
    "state_rate": Parameter(5.0, "Hz, ~/state", True, low=0.1, high=50.0),
    "robot_timeout": Parameter(
        5.0, "s without a word from the robot process: the node ends", True, low=0.5, high=60.0
    ),
    "cmd_vel_timeout": Parameter(
        0.5, "s, after which /cmd_vel counts as zero", True, low=0.05, high=5.0
    ),
    "record": Parameter(False, "offer every control tick to a recorder", True),
}
