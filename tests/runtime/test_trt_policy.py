"""What of the TensorRT engine can be tested without a GPU: its cache, and how it refuses."""

from __future__ import annotations

import pytest

from runtime.policy import PolicyError, load_policy
from runtime.trt_policy import TrtPolicy, engine_key, load_or_build


def test_the_cache_key_depends_on_everything_an_engine_depends_on():
    base = (b"onnx", "10.16.2", "Orin", "fp16")
    changed = [(b"onnx2", *base[1:]), (b"onnx", "10.3.0", "Orin", "fp16")]
    changed += [(b"onnx", "10.16.2", "Thor", "fp16"), (b"onnx", "10.16.2", "Orin", "fp32")]
    keys = {engine_key(*row) for row in [base, *changed]}
    assert len(keys) == 5
    assert engine_key(*base) in keys


def test_an_engine_is_built_once_and_stored_whole(tmp_path):
    built: list[int] = []

    def build() -> bytes:
        built.append(1)
        return b"plan"

    path = tmp_path / "cache" / "key.plan"
    assert load_or_build(path, build) == load_or_build(path, build) == b"plan"
    assert built == [1]
    assert [item.name for item in path.parent.iterdir()] == ["key.plan"]


def test_a_failed_build_leaves_nothing_behind(tmp_path):
    def build() -> bytes:
        raise PolicyError("no")

    with pytest.raises(PolicyError, match="no"):
        load_or_build(tmp_path / "key.plan", build)
    assert list(tmp_path.iterdir()) == []


def test_a_machine_without_tensorrt_says_so_instead_of_falling_back(make_policy, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)
    with pytest.raises(PolicyError, match="engine=ort runs everywhere"):
        load_policy(make_policy(), engine="tensorrt")


def test_an_unknown_precision_is_refused(make_policy):
    with pytest.raises(PolicyError, match="precision 'int2' unknown"):
        TrtPolicy(make_policy(), precision="int2")
