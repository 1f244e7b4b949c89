"""A policy on TensorRT 10.3 to 11, the engine built on the device that runs it.

Precision is written into the graph (`runtime.precision`) and the network typed strictly, which is
all that TensorRT 11 knows and 10 can do as well. Engines are tied to the file, TensorRT's version,
the GPU, the precision and the build flags, so all of these are in the cache's key; every engine,
fresh or cached, has to answer like ONNX Runtime on the CPU before it is used.
Written against the documented API (explicit batch, named tensors); NOT yet run on a device: the
machines this repository is tested on have no NVIDIA GPU. What can be tested without one is.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from runtime.policy import PolicyError, check_golden, check_graph, open_session
from runtime.precision import PRECISIONS, read_calibration, rewrite
from runtime.spec import spec_of_session

TOLERANCE = {"fp32": 1e-3, "fp16": 2e-2, "int8": 0.15}  # in units of action, any joint
FLAGS = "strongly typed, no TF32, batch 1"  # part of the key
PROBES = 32  # observations around the golden one on which the engines are compared
_TO_DEVICE, _TO_HOST = 1, 2  # cudaMemcpyKind


class TrtPolicy:
    """A policy on one NVIDIA GPU, batch 1; the engine is built on first use: it takes seconds."""

    def __init__(
        self,
        path: str | Path,
        *,
        precision: str = "fp32",
        calibration: Path | None = None,
        cache: Path | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise PolicyError(f"precision '{precision}' unknown; there are {sorted(PRECISIONS)}")
        self.path = Path(path)
        session = open_session(self.path)  # the contract is read by the engine that always works
        self.spec = spec_of_session(session, self.path)
        self.spec.validate()
        check_graph(session, self.spec, self.path)
        rows = None
        if precision == "int8":
            beside = calibration or self.path.with_name("calibration.npy")
            rows = read_calibration(beside, self.spec.observation_size)
        trt = _tensorrt()
        self._cuda = _Cuda()
        model = self.path.read_bytes()
        key = engine_key(
            model, str(trt.__version__), self._cuda.device_name(), precision, FLAGS,
            b"" if rows is None else rows.tobytes(),
        )  # fmt: skip
        file = (cache if cache is not None else default_cache()) / f"{key}.plan"

        def build() -> bytes:
            return _build(trt, rewrite(model, precision, rows), self.spec.observation_size)

        if not self._open(trt, load_or_build(file, build)):
            file.unlink(missing_ok=True)  # cut short, or from a TensorRT that is called the same
            if not self._open(trt, load_or_build(file, build)):
                raise PolicyError(f"TensorRT cannot read the engine it has just built for {path}")
        check_golden(self, TOLERANCE[precision])
        check_engine(self, session, TOLERANCE[precision])

    def infer(self, observation: np.ndarray) -> np.ndarray:
        """Return the action [..., 19] for float32 observations [..., N], one row at a time."""
        if observation.ndim > 1:
            return np.stack([self.infer(row) for row in observation])
        self._input[0] = observation
        self._cuda.copy(self._device[0], self._input, _TO_DEVICE, self._stream)
        if not self._context.execute_async_v3(self._stream):
            raise PolicyError("TensorRT refused to run the engine")
        self._cuda.copy(self._device[1], self._output, _TO_HOST, self._stream)
        self._cuda.synchronize(self._stream)
        return self._output[0].copy()

    def _open(self, trt: Any, plan: bytes) -> bool:
        """Make the engine ready to run; tell whether TensorRT could read it."""
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            return False
        self._engine, self._context = engine, engine.create_execution_context()
        self._input = np.zeros((1, self.spec.observation_size), np.float32)
        self._output = np.zeros((1, len(self.spec.joint_names)), np.float32)
        self._device = [self._cuda.allocate(row.nbytes) for row in (self._input, self._output)]
        self._stream = self._cuda.stream()
        self._context.set_input_shape("observation", self._input.shape)
        for name, address in zip(("observation", "action"), self._device, strict=True):
            self._context.set_tensor_address(name, address)
        return True


def engine_key(
    onnx: bytes, version: str, device: str, precision: str, flags: str, calibration: bytes = b""
) -> str:
    """Return the name under which an engine is cached: everything it depends on."""
    files = [hashlib.sha256(content).hexdigest() for content in (onnx, calibration)]
    return hashlib.sha256(
        "|".join([*files, version, device, precision, flags]).encode()
    ).hexdigest()


def check_engine(policy: Any, session: Any, tolerance: float) -> None:
    """Raise PolicyError unless an engine answers like an ONNX Runtime session around the golden.

    The golden observation says little about other places, so PROBES more around it are compared.
    """
    golden = np.asarray(policy.spec.golden_observation, np.float32)
    noise = np.random.default_rng(0).normal(size=(PROBES, len(golden)))
    probes = (golden + 0.1 * (0.1 + np.abs(golden)) * noise).astype(np.float32)
    expected = session.run(["action"], {"observation": probes})[0]
    error = np.abs(policy.infer(probes) - expected)
    worst = float(np.max(np.where(np.isnan(error), np.inf, error)))
    if not worst <= tolerance:
        raise PolicyError(
            f"this engine differs from ONNX Runtime by {worst:.3g} on {PROBES} observations around "
            f"the golden one; at most {tolerance:g} is allowed"
        )


def default_cache() -> Path:
    """Return the folder of cached engines."""
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "ezm" / "tensorrt"


def load_or_build(path: Path, build: Callable[[], bytes]) -> bytes:
    """Return the cached engine, or build it and put it there whole or not at all."""
    if path.is_file():
        return path.read_bytes()
    plan = build()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_bytes(plan)
    part.replace(path)
    return plan


def _build(trt: Any, model: bytes, size: int) -> bytes:
    """Return the engine of an ONNX file's bytes, batch 1."""
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    # Without the flag TensorRT 10 chooses types by itself; 11 always types strictly and ignores it.
    strict = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if strict is None else 1 << int(strict))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model):
        errors = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise PolicyError(f"TensorRT cannot read the policy's graph: {errors}")
    config = builder.create_builder_config()
    if hasattr(trt.BuilderFlag, "TF32"):
        config.clear_flag(trt.BuilderFlag.TF32)
    profile = builder.create_optimization_profile()
    profile.set_shape("observation", (1, size), (1, size), (1, size))
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise PolicyError("TensorRT could not build an engine from the policy's graph")
    return bytes(plan)


def _tensorrt() -> Any:
    try:
        return importlib.import_module("tensorrt")
    except ImportError as error:
        raise PolicyError(
            f"engine 'tensorrt' is not installed here ({error}); engine=ort runs everywhere"
        ) from None


class _Cuda:
    """The six calls of the CUDA runtime that a policy needs, without another Python package."""

    def __init__(self) -> None:
        names = ["libcudart.so", *(f"libcudart.so.{major}" for major in (13, 12, 11))]
        found = ctypes.util.find_library("cudart")
        for name in [found, *names] if found else names:
            try:
                self._library = ctypes.CDLL(name)
                return
            except OSError:
                continue
        raise PolicyError(f"no CUDA runtime found: tried {names}")

    def device_name(self) -> str:
        """Return the GPU's name; cudaDeviceProp begins with it, 256 characters."""
        properties = ctypes.create_string_buffer(8192)  # larger than any version's struct
        self._call("cudaGetDeviceProperties_v2", properties, 0)
        return properties.raw[:256].split(b"\0")[0].decode()

    def allocate(self, size: int) -> int:
        """Return the address of fresh device memory."""
        address = ctypes.c_void_p()
        self._call("cudaMalloc", ctypes.byref(address), ctypes.c_size_t(size))
        return int(address.value or 0)

    def stream(self) -> int:
        """Return a new stream."""
        stream = ctypes.c_void_p()
        self._call("cudaStreamCreate", ctypes.byref(stream))
        return int(stream.value or 0)

    def copy(self, device: int, host: np.ndarray, kind: int, stream: int) -> None:
        """Copy between a device address and a host array, in the given direction."""
        pair = [ctypes.c_void_p(device), ctypes.c_void_p(host.ctypes.data)]
        target, source = pair if kind == _TO_DEVICE else reversed(pair)
        size = ctypes.c_size_t(host.nbytes)
        self._call("cudaMemcpyAsync", target, source, size, kind, ctypes.c_void_p(stream))

    def synchronize(self, stream: int) -> None:
        """Wait for a stream."""
        self._call("cudaStreamSynchronize", ctypes.c_void_p(stream))

    def _call(self, name: str, *arguments: Any) -> None:
        function = getattr(self._library, name, None)
        if function is None and name.endswith("_v2"):  # CUDA 13 dropped the suffix
            function = getattr(self._library, name.removesuffix("_v2"), None)
        if function is None:
            raise PolicyError(f"the CUDA runtime has no {name}")
        code = function(*arguments)
        if code:
            raise PolicyError(f"{name} failed with CUDA error {code}")
