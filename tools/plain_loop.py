"""The plain deployment loop, for comparison: torch.jit, lists, sleep after the work. No guard.

    python tools/plain_loop.py models/h1/policy.onnx 10

The policy's own weights, rebuilt node by node and traced. Prints one line of JSON; runtime/bench.py
starts it where torch and onnx are at hand, in a process of its own, since runtime knows no torch.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import onnx
import torch
from onnx import numpy_helper

PERIOD = 0.02  # s


class Graph(torch.nn.Module):
    """An ONNX graph of the few operators that students are made of."""

    def __init__(self, path: str) -> None:
        super().__init__()
        model = onnx.load(path)
        self.nodes = list(model.graph.node)
        self.constants = {
            item.name: torch.from_numpy(numpy_helper.to_array(item).copy())
            for item in model.graph.initializer
        }
        self.size = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Return the action [1, 19] for an observation [1, N]."""
        values = dict(self.constants) | {"observation": observation}
        for node in self.nodes:
            given = [values[name] for name in node.input if name]
            values[node.output[0]] = apply(node, given)
        return values["action"]


def apply(node: onnx.NodeProto, given: list[torch.Tensor]) -> torch.Tensor:
    """Return what one node makes of its inputs."""
    if node.op_type == "Gemm":
        settings = {item.name: item.i for item in node.attribute}
        weight = given[1].T if settings.get("transB") else given[1]
        return given[0] @ weight + given[2]
    if node.op_type == "LayerNormalization":
        settings = {item.name: item.f for item in node.attribute}
        shape, epsilon = given[1].shape, settings.get("epsilon", 1e-5)
        return torch.nn.functional.layer_norm(given[0], shape, given[1], given[2], epsilon)
    known = {
        "Sub": torch.sub,
        "Div": torch.div,
        "Clip": torch.clip,
        "Elu": torch.nn.functional.elu,
        "Tanh": torch.tanh,
        "Identity": lambda value: value,
        "MatMul": torch.matmul,
        "Add": torch.add,
    }
    if node.op_type not in known:
        raise SystemExit(f"plain_loop: operator {node.op_type} unknown; there are {sorted(known)}")
    return known[node.op_type](*given)


def main() -> None:
    """Run the loop and print its figures."""
    path, seconds = sys.argv[1], float(sys.argv[2])
    torch.set_num_threads(1)
    graph = Graph(path)
    policy = torch.jit.trace(graph, torch.zeros(1, graph.size))
    rate, joints, speed, past = np.zeros(3), np.zeros(19), np.zeros(19), []
    work, begin = [], time.perf_counter()
    while (woke := time.perf_counter()) - begin < seconds:
        past.append([*rate, *joints, *speed])
        row = [number for frame in past[-8:] for number in frame]
        row = (row + [0.0] * graph.size)[: graph.size]
        with torch.no_grad():
            policy(torch.tensor([row], dtype=torch.float32))
        work.append(time.perf_counter() - woke)
        time.sleep(PERIOD)
    took = time.perf_counter() - begin
    p50, p95, p99, most = (float(v) for v in np.percentile(np.array(work) * 1e6, [50, 95, 99, 100]))
    report = {"p50": p50, "p95": p95, "p99": p99, "max": most, "hz": len(work) / took}
    print(json.dumps(report | {"missed": max(0, int(took / PERIOD) - len(work))}))


if __name__ == "__main__":
    main()
