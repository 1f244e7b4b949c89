"""Write a policy's graph anew in half precision or in int8, for engines that type strictly.

TensorRT 11 knows strictly typed networks only, and 10 can do them: so the precision is said in the
graph, the same way for both, and the result runs on ONNX Runtime's CPU too, where it is tested.
Only the matrix products change; normaliser, layer norms, activations and both ends stay float32.
Needs the `onnx` package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from runtime.policy import PolicyError

PRECISIONS = ("fp32", "fp16", "int8")
PERCENTILE = 99.99  # of the absolute activations; what is beyond saturates
LEAST_CALIBRATION = 32  # observations


def rewrite(model: bytes, precision: str, calibration: np.ndarray | None = None) -> bytes:
    """Return the ONNX file's bytes with its matrix products in `precision`.

    calibration [M, N] float32: recorded observations, for int8.

    Raises:
        PolicyError: the precision is unknown, or calibration is missing.
    """
    if precision not in PRECISIONS:
        raise PolicyError(f"precision '{precision}' unknown; there are {sorted(PRECISIONS)}")
    if precision == "fp32":
        return model
    try:
        import onnx
    except ImportError:
        raise PolicyError(
            f"precision {precision} needs the 'onnx' package (pip install onnx), which is not here"
        ) from None
    graph = onnx.load_model_from_string(model)
    products = [node for node in graph.graph.node if node.op_type in ("Gemm", "MatMul")]
    constants = {item.name for item in graph.graph.initializer}
    products = [node for node in products if node.input[1] in constants]
    if precision == "int8":
        if calibration is None:
            raise PolicyError("precision int8 needs calibration: recorded observations [M, N]")
        ranges = activation_ranges(model, [node.input[0] for node in products], calibration)
        change = _Int8(graph, ranges)
    else:
        change = _Half(graph)
    for node in products:
        change.product(node)
    onnx.checker.check_model(graph, full_check=True)
    return graph.SerializeToString()


def read_calibration(path: Path, size: int) -> np.ndarray:
    """Return recorded observations [M, size] from a .npy file.

    Raises:
        PolicyError: it is missing, of another layout, or too short.
    """
    if not path.is_file():
        raise PolicyError(
            f"precision int8 needs recorded observations: {path} does not exist; distill/run.py "
            "leaves calibration.npy in its out folder, to be copied beside the policy"
        )
    try:
        rows = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise PolicyError(f"{path} is not a .npy array: {error}") from None
    if rows.ndim != 2 or rows.shape[1] != size or len(rows) < LEAST_CALIBRATION:
        raise PolicyError(
            f"{path} holds an array {list(rows.shape)}, expected [M, {size}] with M >= "
            f"{LEAST_CALIBRATION}"
        )
    if not np.isfinite(rows).all():
        raise PolicyError(f"{path} holds observations that are not finite")
    return np.ascontiguousarray(rows, np.float32)


def activation_ranges(model: bytes, names: list[str], observations: np.ndarray) -> dict[str, float]:
    """Return the range (PERCENTILE of |x|) of the named tensors over observations [M, N]."""
    import onnx
    from onnx import TensorProto, helper

    graph = onnx.load_model_from_string(model)
    names = list(dict.fromkeys(names))
    for name in names:
        graph.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    values: Any = session.run(names, {"observation": observations})
    return {
        name: max(float(np.percentile(np.abs(value), PERCENTILE)), 1e-6)
        for name, value in zip(names, values, strict=True)
    }


class _Rewriting:
    """Nodes to be put in front of and behind a product."""

    def __init__(self, model: Any) -> None:
        from onnx import helper, numpy_helper

        self.graph, self.helper, self.numpy = model.graph, helper, numpy_helper
        self.constants = {item.name: item for item in model.graph.initializer}

    def constant(self, name: str, array: np.ndarray) -> str:
        if name not in self.constants:
            item = self.numpy.from_array(array, name)
            self.graph.initializer.append(item)
            self.constants[name] = item
        return name

    def value(self, name: str) -> np.ndarray:
        return self.numpy.to_array(self.constants[name])

    def before(
        self, node: Any, kind: str, inputs: list[str], output: str, **attributes: Any
    ) -> str:
        """Insert a node in front of `node`, unless what it makes is there already."""
        if all(output not in other.output for other in self.graph.node):
            place = list(self.graph.node).index(node)
            made = self.helper.make_node(kind, inputs, [output], **attributes)
            self.graph.node.insert(place, made)
        return output

    def behind(
        self, node: Any, kind: str, inputs: list[str], output: str, **attributes: Any
    ) -> None:
        place = list(self.graph.node).index(node)
        made = self.helper.make_node(kind, inputs, [output], **attributes)
        self.graph.node.insert(place + 1, made)

    def axis(self, node: Any) -> int:
        """Return the axis of the product's outputs in its weight."""
        turned = any(item.name == "transB" and item.i for item in node.attribute)
        return 0 if node.op_type == "Gemm" and turned else 1


class _Half(_Rewriting):
    """Products in float16 between two casts."""

    def product(self, node: Any) -> None:
        from onnx import TensorProto

        source = node.input[0]
        half = self.before(node, "Cast", [source], f"{source}_half", to=TensorProto.FLOAT16)
        node.input[0] = half
        for index in range(1, len(node.input)):
            name = node.input[index]
            node.input[index] = self.constant(f"{name}_half", self.value(name).astype(np.float16))
        result, node.output[0] = node.output[0], f"{node.output[0]}_half"
        self.behind(node, "Cast", [node.output[0]], result, to=TensorProto.FLOAT)


class _Int8(_Rewriting):
    """Symmetric int8: one scale per activation tensor, one per output of each weight."""

    def __init__(self, model: Any, ranges: dict[str, float]) -> None:
        super().__init__(model)
        self.ranges = ranges

    def product(self, node: Any) -> None:
        source, weight = node.input[0], node.input[1]
        scale = np.float32(self.ranges[source] / 127.0)
        node.input[0] = self._round_trip(node, source, np.array(scale), {})
        axis = self.axis(node)
        values = self.value(weight)
        largest = np.abs(values).max(axis=1 - axis)
        scales = (np.maximum(largest, 1e-8) / 127.0).astype(np.float32)
        node.input[1] = self._round_trip(node, weight, scales, {"axis": axis})

    def _round_trip(self, node: Any, name: str, scale: np.ndarray, axis: dict[str, int]) -> str:
        """Put QuantizeLinear and DequantizeLinear between `name` and `node`."""
        zero = self.constant(f"{name}_zero", np.zeros(scale.shape, np.int8))
        step = self.constant(f"{name}_scale", scale)
        whole = self.before(node, "QuantizeLinear", [name, step, zero], f"{name}_int8", **axis)
        return self.before(node, "DequantizeLinear", [whole, step, zero], f"{name}_back", **axis)
