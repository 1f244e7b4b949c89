"""What of the TensorRT engine can be tested without a GPU.

The double of `tensorrt` below stands where the library would: it takes the same calls, keeps what
it was asked for, and computes with ONNX Runtime's CPU. It shows our use of the interface, not
TensorRT itself, which no test here runs.
"""

from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from runtime import policy as engines
from runtime import trt_policy
from runtime.policy import PolicyError, load_policy
from runtime.trt_policy import FLAGS, TrtPolicy, engine_key, load_or_build


class Cuda:
    """Device memory on the host."""

    def __init__(self) -> None:
        self.kept: list = []

    def device_name(self) -> str:
        return "Double"

    def allocate(self, size: int) -> int:
        self.kept.append(ctypes.create_string_buffer(size))
        return ctypes.addressof(self.kept[-1])

    def stream(self) -> int:
        return 1

    def copy(self, device: int, host: np.ndarray, kind: int, stream: int) -> None:
        pair = (device, host.ctypes.data) if kind == 1 else (host.ctypes.data, device)
        ctypes.memmove(*pair, host.nbytes)

    def synchronize(self, stream: int) -> None:
        pass


class Context:
    def __init__(self, session, bias: float) -> None:
        self.session, self.bias = session, bias
        self.shape, self.address = {}, {}

    def set_input_shape(self, name, shape) -> None:
        self.shape[name] = shape

    def set_tensor_address(self, name, address) -> None:
        self.address[name] = address

    def execute_async_v3(self, stream) -> bool:
        size = self.shape["observation"][1]
        given = (ctypes.c_float * size).from_address(self.address["observation"])
        rows = np.ctypeslib.as_array(given)[None].copy()
        action = self.session.run(["action"], {"observation": rows})[0][0] + self.bias
        ctypes.memmove(self.address["action"], action.astype(np.float32).tobytes(), 4 * len(action))
        return True


class Double:
    """The part of `tensorrt` that is used; `asked` is what it was told."""

    __version__ = "11.0-double"
    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    BuilderFlag = SimpleNamespace(TF32="tf32")

    def __init__(self) -> None:
        self.asked: dict = {"built": 0}
        self.bias, self.readable = 0.0, True
        self.Logger = lambda level: None
        self.Logger.WARNING = 0

    def Builder(self, logger):  # noqa: N802
        profile = SimpleNamespace(set_shape=lambda *shape: self.asked.update(shape=shape))
        config = SimpleNamespace(
            clear_flag=lambda flag: self.asked.update(cleared=flag),
            add_optimization_profile=lambda profile: None,
        )

        def create(flags):
            self.asked["flags"] = flags
            return SimpleNamespace()

        def build(network, config):
            self.asked["built"] += 1
            return network.model

        return SimpleNamespace(
            create_network=create,
            create_builder_config=lambda: config,
            create_optimization_profile=lambda: profile,
            build_serialized_network=build,
        )

    def OnnxParser(self, network, logger):  # noqa: N802
        def parse(model: bytes) -> bool:
            network.model = model
            return self.readable

        return SimpleNamespace(
            parse=parse, num_errors=1, get_error=lambda i: "node Gemm_0 is not supported"
        )

    def Runtime(self, logger):  # noqa: N802
        def deserialize(plan: bytes):
            try:
                session = onnxruntime.InferenceSession(plan, providers=["CPUExecutionProvider"])
            except Exception:
                return None
            context = Context(session, self.bias)
            return SimpleNamespace(create_execution_context=lambda: context)

        return SimpleNamespace(deserialize_cuda_engine=deserialize)


@pytest.fixture
def double(monkeypatch) -> Double:
    made = Double()
    monkeypatch.setattr(trt_policy, "_tensorrt", lambda: made)
    monkeypatch.setattr(trt_policy, "_Cuda", Cuda)
    return made


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_an_engine_of_every_precision_answers_within_its_tolerance(
    precision, double, make_policy, tmp_path
):
    path = make_policy(scale=0.05)
    reference = load_policy(path)
    rows = np.random.default_rng(1).normal(size=(64, reference.spec.observation_size))
    np.save(tmp_path / "calibration.npy", rows.astype(np.float32))
    policy = TrtPolicy(path, precision=precision, cache=tmp_path / "cache")
    probes = rows[:8].astype(np.float32)
    error = np.abs(policy.infer(probes) - reference.infer(probes)).max()
    assert error <= trt_policy.TOLERANCE[precision]
    assert (error > 1e-6) == (precision != "fp32")


def test_the_network_is_strictly_typed_without_tf32_and_of_batch_one(double, make_policy, tmp_path):
    policy = TrtPolicy(make_policy(scale=0.05), cache=tmp_path / "cache")
    size = policy.spec.observation_size
    assert double.asked["flags"] == 1 << 1
    assert double.asked["cleared"] == "tf32"
    assert double.asked["shape"] == ("observation", (1, size), (1, size), (1, size))


def test_a_second_start_takes_the_engine_from_the_cache(double, make_policy, tmp_path):
    path = make_policy(scale=0.05)
    for _ in range(2):
        TrtPolicy(path, cache=tmp_path / "cache")
    assert double.asked["built"] == 1


def test_a_cached_engine_that_was_cut_short_is_built_anew(double, make_policy, tmp_path):
    path = make_policy(scale=0.05)
    TrtPolicy(path, cache=tmp_path / "cache")
    [plan] = (tmp_path / "cache").iterdir()
    plan.write_bytes(plan.read_bytes()[:50])
    TrtPolicy(path, cache=tmp_path / "cache")
    assert double.asked["built"] == 2


def test_an_engine_that_answers_otherwise_is_refused_fresh_or_cached(double, make_policy, tmp_path):
    path = make_policy(scale=0.05)
    TrtPolicy(path, cache=tmp_path / "cache")
    double.bias = 0.01
    with pytest.raises(PolicyError, match="golden vector"):
        TrtPolicy(path, cache=tmp_path / "cache")


def test_an_engine_that_is_right_at_the_golden_vector_only_is_refused(make_policy):
    """Oracle: a policy that ignores what it sees."""
    policy = load_policy(make_policy(scale=0.05))
    same = SimpleNamespace(
        spec=policy.spec, infer=lambda rows: np.tile(policy.spec.golden_action, (len(rows), 1))
    )
    session = engines.open_session(policy.path)
    trt_policy.check_engine(policy, session, 1e-6)
    with pytest.raises(PolicyError, match="around the golden one"):
        trt_policy.check_engine(same, session, 1e-3)


def test_a_graph_that_tensorrt_cannot_read_is_refused_with_its_words(double, make_policy, tmp_path):
    double.readable = False
    with pytest.raises(PolicyError, match="Gemm_0 is not supported"):
        TrtPolicy(make_policy(), cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*"))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (None, "does not exist"),
        (np.zeros((64, 3), np.float32), "expected"),
        (np.zeros((4, 132), np.float32), ">= 32"),
        (np.full((64, 132), np.nan, np.float32), "not finite"),
    ],
)
def test_int8_without_sound_recorded_observations_is_refused(
    rows, expected, double, make_policy, tmp_path
):
    path = make_policy()
    assert load_policy(path).spec.observation_size == 132
    if rows is not None:
        np.save(tmp_path / "calibration.npy", rows)
    with pytest.raises(PolicyError, match=expected):
        TrtPolicy(path, precision="int8", cache=tmp_path / "cache")


def test_the_cache_key_depends_on_everything_an_engine_depends_on():
    base = (b"onnx", "10.16.2", "Orin", "fp16", FLAGS, b"")
    keys = {engine_key(*base)}
    for place, other in enumerate((b"onnx2", "10.3.0", "Thor", "fp32", "TF32", b"rows")):
        keys.add(engine_key(*base[:place], other, *base[place + 1 :]))
    assert len(keys) == 7
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
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(PolicyError, match="engine=ort runs everywhere"):
        load_policy(make_policy(), engine="tensorrt")


def test_an_unknown_precision_is_refused(make_policy):
    with pytest.raises(PolicyError, match="precision 'int2' unknown"):
        TrtPolicy(make_policy(), precision="int2")


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(),
    reason="this ONNX Runtime has the GPU providers; the refusal cannot be seen",
)
@pytest.mark.parametrize("engine", ["ort-cuda", "ort-tensorrt"])
def test_a_gpu_provider_that_is_not_built_in_is_an_error_never_the_cpu(engine, make_policy):
    with pytest.raises(PolicyError, match=r"this build has .*CPUExecutionProvider"):
        load_policy(make_policy(), engine=engine)


def test_a_provider_that_silently_falls_back_to_the_cpu_is_an_error(make_policy, monkeypatch):
    """ONNX Runtime drops a provider whose libraries do not load and goes on without a word."""
    path, real = make_policy(), onnxruntime.InferenceSession
    names = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda *a, **k: real(path, providers=names[1:])
    )
    with pytest.raises(PolicyError, match="fell back to"):
        load_policy(path, engine="ort-cuda")


def test_an_unknown_engine_is_refused_with_those_there_are(make_policy):
    with pytest.raises(PolicyError, match=r"ort-cuda.*tensorrt-int8"):
        load_policy(make_policy(), engine="openvino")
