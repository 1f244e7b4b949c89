"""Tiny policies for the runtime tests, written with the `onnx` package: no torch, no training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtime.spec import PolicySpec, spec_for_h1


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
