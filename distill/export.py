"""Write a student as an ONNX file with its PolicySpec inside, and check it.

The graph is built node by node (opset 17): a handful of operators that every engine knows, and no
exporter needed. What ONNX Runtime answers is compared with what torch answers before anything is
called a policy.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from distill.student import Student
from runtime.policy import OnnxPolicy
from runtime.spec import PolicySpec

OPSET, IR_VERSION = 17, 8
PARITY = 1e-5  # largest difference between torch and ONNX Runtime, in units of action


class ParityError(RuntimeError):
    """ONNX Runtime and torch disagree."""


def export(
    student: Student, spec: PolicySpec, observations: np.ndarray, path: Path
) -> tuple[PolicySpec, float]:
    """Write `path` in one step; return the spec inside and the largest difference to torch.

    observations [B, N] float32: real ones; the first becomes the golden vector, all are compared.

    Raises:
        ParityError: a difference above PARITY.
    """
    student.eval()
    expected = student.infer(observations)
    spec = dataclasses.replace(
        spec,
        golden_observation=tuple(float(x) for x in observations[0]),
        golden_action=tuple(float(x) for x in expected[0]),
    )
    part = path.with_name(path.name + ".part")
    onnx.save(build_graph(student, spec), str(part))
    spec.attach(part)
    difference = float(np.abs(OnnxPolicy(part).infer(observations) - expected).max())
    if not difference <= PARITY:
        raise ParityError(
            f"ONNX Runtime differs from torch by {difference:.2e} on {len(observations)} "
            f"observations; at most {PARITY:g} is allowed"
        )
    os.replace(part, path)
    return spec, difference


def build_graph(student: Student, spec: PolicySpec) -> onnx.ModelProto:
    """Return the student as an ONNX model: observation [N, size] -> action [N, 19]."""
    graph = _Graph()
    name = graph.add("Sub", ["observation", graph.constant(student.mean)])
    name = graph.add("Div", [name, graph.constant(student.std)])
    limits = [graph.constant(torch.tensor(x)) for x in (-student.clip, student.clip)]
    name = graph.add("Clip", [name, *limits])
    for layer in student.net:
        name = graph.layer(layer, name)
    graph.nodes.append(helper.make_node("Identity", [name], ["action"]))
    value = helper.make_tensor_value_info
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            spec.name,
            [value("observation", TensorProto.FLOAT, ["N", spec.observation_size])],
            [value("action", TensorProto.FLOAT, ["N", len(spec.joint_names)])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="ezm",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


class _Graph:
    """Nodes and constants so far."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, tensor: torch.Tensor) -> str:
        name = f"c{len(self.constants)}"
        array = np.ascontiguousarray(tensor.detach().numpy(), dtype=np.float32)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def add(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        name = f"x{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def layer(self, layer: nn.Module, name: str) -> str:
        """Append one layer of the student and return its output's name."""
        if isinstance(layer, nn.Linear):
            weights = [self.constant(layer.weight), self.constant(layer.bias)]
            return self.add("Gemm", [name, *weights], transB=1)
        if isinstance(layer, nn.LayerNorm):
            weights = [self.constant(layer.weight), self.constant(layer.bias)]
            return self.add("LayerNormalization", [name, *weights], axis=-1, epsilon=layer.eps)
        if isinstance(layer, nn.ELU):
            return self.add("Elu", [name], alpha=layer.alpha)
        if isinstance(layer, (nn.ReLU, nn.Tanh)):
            return self.add(type(layer).__name__.replace("ReLU", "Relu"), [name])
        raise TypeError(f"no ONNX operator known for {type(layer).__name__}")
