"""What the runtime tests share: tiny policies (by `onnx`, no torch), states, a server in hand."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import frames, h1
from runtime.frames import Kind, Verb
from runtime.modes import Mode
from runtime.robot_server import RobotServer
from runtime.server import base_config
from runtime.server_link import Request
from runtime.spec import PolicySpec, spec_for_h1
from runtime.state import JointTargets, RobotState


def write_linear_policy(
    path: Path, spec: PolicySpec, weight: np.ndarray, bias: np.ndarray
) -> PolicySpec:
    """Write action = tanh(observation @ weight + bias) with `spec` and its golden vector inside."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    size = spec.observation_size
    nodes = [
        helper.make_node("MatMul", ["observation", "weight"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["action"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("observation", TensorProto.FLOAT, ["N", size])],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, ["N", 19])],
        [
            numpy_helper.from_array(weight.astype(np.float32), "weight"),
            numpy_helper.from_array(bias.astype(np.float32), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path))
    golden = np.random.default_rng(0).normal(size=size).astype(np.float32)
    answer = np.tanh(golden @ weight.astype(np.float32) + bias.astype(np.float32))
    spec = dataclasses.replace(
        spec,
        golden_observation=tuple(float(value) for value in golden),
        golden_action=tuple(float(value) for value in answer),
    )
    spec.attach(path)
    return spec


@pytest.fixture
def make_policy(tmp_path: Path) -> Callable[..., Path]:
    """Return a maker of policy files: the home pose by default, random weights with scale > 0."""

    def make(
        *,
        name: str = "policy.onnx",
        tasks: tuple[str, ...] = ("stand", "walk"),
        history: int = 2,
        scale: float = 0.0,
        seed: int = 0,
        change: Callable[[PolicySpec], PolicySpec] = lambda spec: spec,
    ) -> Path:
        spec = change(spec_for_h1("test", tasks, "home", history=history))
        rng = np.random.default_rng(seed)
        weight = scale * rng.normal(size=(spec.observation_size, 19))
        path = tmp_path / name
        write_linear_policy(path, spec, weight, np.zeros(19))
        return path

    return make


@pytest.fixture(scope="session")
def state_with() -> Callable[..., RobotState]:
    """Return a maker of states: the home pose at rest, but for what is named."""

    def make(**changes: Any) -> RobotState:
        upright = np.array([1.0, 0, 0, 0])
        home = RobotState(0.0, upright, np.zeros(3), h1.DEFAULT_POSE.copy(), np.zeros(19))
        return dataclasses.replace(home, **changes)

    return make


@pytest.fixture(scope="session")
def targets_with() -> Callable[..., JointTargets]:
    """Return a maker of targets: the home pose, or the one given, but for what is named."""

    def make(position: np.ndarray | None = None, **changes: Any) -> JointTargets:
        position = h1.DEFAULT_POSE.copy() if position is None else position
        targets = JointTargets(1, 0.0, position, h1.STIFFNESS, h1.DAMPING)
        return dataclasses.replace(targets, **changes)

    return make


@pytest.fixture(scope="session")
def lean() -> Callable[..., np.ndarray]:
    """Return a maker of orientations: so many rad about x (axis 0), y (1) or z (2)."""

    def make(angle: float, axis: int = 1) -> np.ndarray:
        quaternion = np.zeros(4)
        quaternion[0], quaternion[1 + axis] = math.cos(angle / 2), math.sin(angle / 2)
        return quaternion

    return make


DT = 0.002  # s


class FakeLink:
    """Hands over what the test queued; everybody who sends holds the lease."""

    def __init__(self) -> None:
        self.inbox: list[JointTargets | Request] = []
        self.answers: list[tuple[bool, str]] = []
        self.frames: list[np.ndarray] = []
        self.refused = 0

    def receive(self, now: float) -> Iterator[JointTargets | Request]:
        inbox, self.inbox = self.inbox, []
        return iter(inbox)

    def lease(self, request: Request, now: float) -> tuple[bool, str]:
        return True, ""

    def holds(self, peer: bytes, now: float) -> bool:
        return peer == b"holder"

    def commander(self, now: float) -> str:
        return "holder"

    def drop(self) -> None:
        pass

    def reply(self, request: Request, granted: bool, reason: str) -> None:
        self.answers.append((granted, reason))

    def publish(self, frame: np.ndarray) -> None:
        self.frames.append(frames.decode(frame.tobytes(), Kind.STATE))


class Bench:
    """A server on a simulated robot, and time that only the test moves."""

    def __init__(self, **config: Any) -> None:
        from runtime.mujoco_robot import MujocoRobot

        self.link: Any = FakeLink()
        self.robot = MujocoRobot()
        self.server = RobotServer(
            self.robot, self.link, dataclasses.replace(base_config("mujoco"), **config)
        )
        self.server.verified = True
        self.now, self.sending, self.target = 0.0, True, h1.DEFAULT_POSE.copy()
        self.modes: list[Mode] = []
        self.written: list[JointTargets] = []
        write = self.robot.write
        self.robot.write = lambda targets, ticks=1: (  # type: ignore[method-assign]
            self.written.append(targets),
            write(targets, ticks),
        )[1]

    def ask(self, mode: int, verb: Verb = Verb.MODE, peer: bytes = b"holder") -> tuple[bool, str]:
        self.link.inbox.append(Request(peer, 1, verb, int(mode), "walk"))
        self.tick()
        return self.link.answers[-1]

    def tick(self) -> None:
        self.now += DT
        if self.sending and round(self.now / DT) % 10 == 0:
            self.link.inbox.append(JointTargets(1, 0.0, self.target, h1.STIFFNESS, h1.DAMPING))
        stamp = self.now
        read = type(self.robot).read
        self.robot.read = lambda: dataclasses.replace(read(self.robot), stamp=stamp)  # type: ignore
        self.server.tick(self.now)
        mode = self.server.machine.mode
        if not self.modes or self.modes[-1] is not mode:
            self.modes.append(mode)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / DT)):
            self.tick()

    def to_policy(self) -> None:
        self.ask(Mode.POLICY)
        while self.server.machine.mode is not Mode.POLICY:
            self.tick()
            assert self.now < 5.0


@pytest.fixture(scope="session", name="Bench")
def bench_class() -> type[Bench]:
    """Return the class: a test makes one with the limits that it wants."""
    return Bench
