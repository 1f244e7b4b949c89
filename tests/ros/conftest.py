"""Tiny policies, processes that are always reaped, and a ROS domain of our own."""

from __future__ import annotations

import dataclasses
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="the ROS wheels are not installed")

import rclpy
from rclpy.signals import SignalHandlerOptions

from ezm_runtime.describe import Line, Options, describe, free_domain, loopback_environment
from ezm_runtime.watch import Watch
from runtime.spec import spec_for_h1


@pytest.fixture(scope="session", autouse=True)
def ros_environment() -> Iterator[None]:
    """Give this test run a ROS domain that nobody uses, on 127.0.0.1 only."""
    domains = random.SystemRandom().sample(range(1, 100), 99)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in loopback_environment().items():
            patch.setenv(name, value)
        patch.setenv("ROS_DOMAIN_ID", str(free_domain(domains)))
        yield


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a policy file whose action is always zero: the home pose."""
    onnx = pytest.importorskip("onnx")
    spec = spec_for_h1("home pose", ("stand", "walk"), "home", history=1)
    size = spec.observation_size
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["observation", "weight"], ["action"])],
        "zero",
        [helper.make_tensor_value_info("observation", kind, ["N", size])],
        [helper.make_tensor_value_info("action", kind, ["N", 19])],
        [onnx.numpy_helper.from_array(np.zeros((size, 19), np.float32), "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = tmp_path_factory.mktemp("policy") / "policy.onnx"
    onnx.save(model, str(path))
    golden = {"golden_observation": (0.5,) * size, "golden_action": (0.0,) * 19}
    dataclasses.replace(spec, **golden).attach(path)
    return path


class Processes:
    """Start processes with their output in files; end them all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.all: list[subprocess.Popen] = []

    def start(self, argv: tuple[str, ...], name: str, **settings) -> subprocess.Popen:
        """Start one in a session of its own, its output in `name`.log."""
        with (self.folder / f"{name}.log").open("wb") as log:
            child = subprocess.Popen(
                argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        self.all.append(child)
        return child

    def said(self, name: str) -> str:
        """Return what the process wrote so far."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def end(self) -> None:
        """Kill and reap whatever still runs."""
        for child in self.all:
            if child.poll() is None:
                child.kill()
            child.wait()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Return a starter of processes that leaves nothing running."""
    started = Processes(tmp_path)
    yield started
    started.end()


@pytest.fixture
def line(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Line:
    """Return the description of a simulated line with the home-pose policy."""
    folder = tmp_path_factory.mktemp("l")  # short: ipc paths are limited
    return describe("mujoco", Options(policy=str(policy)), folder=folder, parent=os.getpid())


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Return our end of the graph."""
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    watcher = Watch(f"watch_{os.getpid()}")
    yield watcher
    watcher.close()
    rclpy.shutdown()


@pytest.fixture
def python() -> str:
    """Return the interpreter that has everything installed."""
    return sys.executable
