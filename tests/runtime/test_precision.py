"""Graphs rewritten for half precision and int8, run on ONNX Runtime's CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from runtime.policy import PolicyError, load_policy
from runtime.precision import activation_ranges, read_calibration, rewrite

SHIPPED = Path(__file__).parents[2] / "models" / "h1" / "policy.onnx"


def run(model: bytes, rows: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(["action"], {"observation": rows})[0]


def states(policy, count: int) -> np.ndarray:
    golden = np.asarray(policy.spec.golden_observation, np.float32)
    noise = np.random.default_rng(0).normal(size=(count, len(golden)))
    return (golden + 0.05 * noise).astype(np.float32)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 2e-2), ("int8", 0.15)])
def test_the_shipped_student_keeps_its_answers(precision, tolerance):
    policy = load_policy(SHIPPED)
    rows = states(policy, 256)
    model = SHIPPED.read_bytes()
    changed = rewrite(model, precision, rows[:128])
    error = np.abs(run(changed, rows[128:]) - run(model, rows[128:]))
    assert 0 < error.max() <= tolerance


def test_every_matrix_product_is_changed_and_both_ends_stay_float32():
    rows = states(load_policy(SHIPPED), 64)
    for precision, kind in (("fp16", "Cast"), ("int8", "DequantizeLinear")):
        graph = onnx.load_model_from_string(rewrite(SHIPPED.read_bytes(), precision, rows)).graph
        made = {name: node for node in graph.node for name in node.output}
        products = [node for node in graph.node if node.op_type == "Gemm"]
        assert len(products) >= 3
        assert all(made[node.input[0]].op_type == kind for node in products)
        assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        assert graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_int8_scales_of_weights_are_one_per_output(make_policy):
    """Oracle: quantised by hand."""
    path = make_policy(scale=0.05)
    rows = states(load_policy(path), 64)
    source = onnx.load(path).graph
    weight = onnx.numpy_helper.to_array(source.initializer[0])
    graph = onnx.load_model_from_string(rewrite(path.read_bytes(), "int8", rows)).graph
    values = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    np.testing.assert_allclose(values["weight_scale"], np.abs(weight).max(0) / 127, rtol=1e-6)
    ranges = activation_ranges(path.read_bytes(), ["observation"], rows)
    step = ranges["observation"] / 127
    assert values["observation_scale"] == pytest.approx(step)
    whole = np.clip(np.round(rows / step), -128, 127) * step
    scale = np.abs(weight).max(0) / 127
    expected = np.tanh(whole @ (np.round(weight / scale) * scale))
    changed = rewrite(path.read_bytes(), "int8", rows)
    np.testing.assert_allclose(run(changed, rows), expected, atol=1e-4)


def test_the_range_is_what_almost_all_activations_stay_within(make_policy):
    path = make_policy()
    rows = states(load_policy(path), 500)
    found = activation_ranges(path.read_bytes(), ["observation"], rows)["observation"]
    assert found == pytest.approx(np.percentile(np.abs(rows), 99.99))


def test_fp32_is_the_file_itself(make_policy):
    content = make_policy().read_bytes()
    assert rewrite(content, "fp32") is content


def test_int8_without_calibration_is_refused(make_policy):
    with pytest.raises(PolicyError, match="recorded observations"):
        rewrite(make_policy().read_bytes(), "int8")


def test_a_calibration_file_that_is_no_array_is_refused(tmp_path):
    path = tmp_path / "calibration.npy"
    path.write_text("nothing")
    with pytest.raises(PolicyError, match=r"not a \.npy array"):
        read_calibration(path, 3)
