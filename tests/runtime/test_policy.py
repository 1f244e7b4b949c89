"""Loading a policy: the good one runs, every bad one is refused with a sentence that says why."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from runtime import h1
from runtime.policy import OnnxPolicy, PolicyError, load_policy
from runtime.spec import PolicySpec, SpecError


def rewrite(path, **changes):
    dataclasses.replace(PolicySpec.read(path), **changes).attach(path)


def test_a_policy_answers_one_and_many_alike(make_policy):
    policy = load_policy(make_policy(scale=0.2))
    rows = (
        np.random.default_rng(0).normal(size=(5, policy.spec.observation_size)).astype(np.float32)
    )
    many = policy.infer(rows)
    assert many.shape == (5, 19)
    assert many.dtype == np.float32
    for row, action in zip(rows, many, strict=True):
        np.testing.assert_allclose(policy.infer(row), action, atol=1e-6)


def test_the_spec_survives_the_onnx_file_exactly(make_policy):
    path = make_policy()
    spec = PolicySpec.read(path)
    spec.attach(path)
    assert PolicySpec.read(path) == spec == OnnxPolicy(path).spec


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(PolicyError, match="does not exist"):
        load_policy(tmp_path / "nothing.onnx")


@pytest.mark.parametrize("keep", [0, 10, 500])
def test_a_truncated_file_is_refused(make_policy, keep):
    path = make_policy()
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises((PolicyError, SpecError)):
        load_policy(path)


def test_permuted_joint_names_are_refused(make_policy):
    path = make_policy()
    names = list(h1.JOINT_NAMES)
    names[3], names[4] = names[4], names[3]
    rewrite(path, joint_names=tuple(names))
    with pytest.raises(SpecError, match=r"another order.*left_ankle.*left_knee"):
        load_policy(path)


def test_a_policy_that_answers_its_golden_vector_otherwise_is_refused(make_policy):
    path = make_policy(scale=0.2)
    golden = PolicySpec.read(path).golden_action
    rewrite(path, golden_action=(golden[0] + 0.01, *golden[1:]))
    with pytest.raises(PolicyError, match="golden vector: left_hip_yaw"):
        load_policy(path)


def test_a_graph_of_another_size_is_refused(make_policy):
    path = make_policy(history=2)
    spec = PolicySpec.read(path)
    other = tuple(dataclasses.replace(item, history=1) for item in spec.observation)
    size = sum(item.size for item in other)
    rewrite(path, observation=other, golden_observation=spec.golden_observation[:size])
    with pytest.raises(PolicyError, match="expected one input 'observation'"):
        load_policy(path)


def test_an_onnx_file_without_a_spec_is_refused(make_policy):
    import onnx

    path = make_policy()
    model = onnx.load(str(path))
    del model.metadata_props[:]
    onnx.save(model, str(path))
    with pytest.raises(SpecError, match="ezm_policy_spec"):
        load_policy(path)


def test_an_unknown_engine_is_refused(make_policy):
    with pytest.raises(PolicyError, match="engine 'abacus' unknown"):
        load_policy(make_policy(), engine="abacus")
