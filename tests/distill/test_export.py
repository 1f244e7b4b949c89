import dataclasses
import itertools

import numpy as np
import onnx
import pytest
import torch

from distill import export as module
from distill.config import StudentConfig
from distill.export import ParityError, export
from distill.student import make_spec, make_student
from runtime.policy import OnnxPolicy

TASKS = ("stand", "walk")


def make(config: StudentConfig, seed: int = 0):
    spec = make_spec("t", TASKS, "home", config)
    student = make_student(spec, config, seed)
    random = np.random.default_rng(seed)
    observations = random.normal(size=(64, spec.observation_size)).astype(np.float32) * 2
    student.normalise(torch.from_numpy(observations))
    with torch.no_grad():
        student.net[-2].weight.mul_(200)
    return spec, student, observations


@pytest.mark.parametrize(
    ("activation", "layer_norm", "hidden"),
    list(itertools.product(["elu", "relu"], [True, False], [(16,), (32, 16, 8)])),
)
def test_onnx_runtime_answers_what_torch_answers(tmp_path, activation, layer_norm, hidden):
    config = StudentConfig(2, hidden, activation, layer_norm)
    spec, student, observations = make(config)
    _, difference = export(student, spec, observations, tmp_path / "p.onnx")
    policy = OnnxPolicy(tmp_path / "p.onnx")
    expected = student.infer(observations)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(policy.infer(observations), expected, atol=1e-5)
    np.testing.assert_allclose(policy.infer(observations[3]), expected[3], atol=1e-5)
    assert difference <= 1e-5


def test_the_file_carries_spec_and_provenance_and_an_opset_that_old_engines_read(tmp_path):
    spec, student, observations = make(StudentConfig(history=2, hidden=(8,)))
    spec = dataclasses.replace(spec, provenance={"commit": "abc"})
    given, _ = export(student, spec, observations, tmp_path / "p.onnx")
    read = OnnxPolicy(tmp_path / "p.onnx").spec
    assert read == given
    assert read.provenance == {"commit": "abc"}
    assert read.golden_observation == tuple(observations[0].tolist())
    model = onnx.load(tmp_path / "p.onnx")
    assert model.opset_import[0].version <= 17


def test_a_student_sees_nothing_that_no_robot_measures():
    spec = make_spec("t", TASKS, "home", StudentConfig())
    assert spec.sim_only == ()
    assert {b.name for b in spec.observation}.isdisjoint({"base_height", "base_linear_velocity"})


def test_a_graph_that_differs_from_torch_is_never_called_a_policy(tmp_path, monkeypatch):
    spec, student, observations = make(StudentConfig(history=1, hidden=(8,)))
    monkeypatch.setattr(module, "PARITY", -1.0)
    with pytest.raises(ParityError, match="differs from torch by"):
        export(student, spec, observations, tmp_path / "p.onnx")
    assert not (tmp_path / "p.onnx").exists()
