"""A policy: an ONNX graph that maps an observation to an action, with its PolicySpec inside.

Loading is where mistakes are caught: the file, the spec against the robot, the graph's inputs and
outputs, and the golden vector through the engine that will run. Knows no robot process.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime

from runtime.spec import PolicySpec, SpecError, spec_of_session

GOLDEN_TOLERANCE = 1e-4
GPU_TOLERANCE = 1e-3  # other kernels, other orders of summation
CPU = "CPUExecutionProvider"
# engine -> what ONNX Runtime is asked for, best first, with options; TF32 would be half precision
PROVIDERS: dict[str, list[tuple[str, dict[str, str]]]] = {
    "ort": [(CPU, {})],
    "ort-cuda": [("CUDAExecutionProvider", {"use_tf32": "0"})],
    "ort-tensorrt": [
        ("TensorrtExecutionProvider", {}),
        ("CUDAExecutionProvider", {"use_tf32": "0"}),
    ],
}
TENSORRT = {"tensorrt": "fp32", "tensorrt-fp16": "fp16", "tensorrt-int8": "int8"}
ENGINES = (*PROVIDERS, *TENSORRT)


class PolicyError(RuntimeError):
    """A policy file cannot be loaded or does not do what it promises."""


class Policy(Protocol):
    """Anything that answers an observation with an action."""

    @property
    def spec(self) -> PolicySpec:
        """The contract this policy was made under."""
        ...

    def infer(self, observation: np.ndarray) -> np.ndarray:
        """Return the action [..., 19] for float32 observations [..., N]."""
        ...


class OnnxPolicy:
    """A policy on ONNX Runtime: on the CPU one thread, no spinning; on a GPU that, or an error."""

    def __init__(self, path: str | Path, *, threads: int = 1, engine: str = "ort") -> None:
        self.path = Path(path)
        self._session = open_session(self.path, threads, engine)
        self.spec = spec_of_session(self._session, self.path)
        self.spec.validate()
        self.provider: str = self._session.get_providers()[0]
        check_graph(self._session, self.spec, self.path)
        self._input = np.zeros((1, self.spec.observation_size), np.float32)
        self._output = np.zeros((1, len(self.spec.joint_names)), np.float32)
        self._binding = self._bind()
        check_golden(self, GOLDEN_TOLERANCE if engine == "ort" else GPU_TOLERANCE)

    def infer(self, observation: np.ndarray) -> np.ndarray:
        """Return the action [..., 19] for float32 observations [..., N]."""
        if observation.ndim > 1:
            return self._session.run(["action"], {"observation": observation})[0]
        self._input[0] = observation
        self._session.run_with_iobinding(self._binding)
        return self._output[0].copy()

    def _bind(self) -> Any:
        """Bind one robot's input and output once: a third less time than handing them over."""
        binding = self._session.io_binding()
        for name, array, bind in (
            ("observation", self._input, binding.bind_input),
            ("action", self._output, binding.bind_output),
        ):
            place = {"device_type": "cpu", "device_id": 0, "element_type": np.float32}
            bind(name, shape=array.shape, buffer_ptr=array.ctypes.data, **place)
        return binding


def find_policy(path: str | Path) -> Path:
    """Return `path`; where nothing is there, what is shipped under that name (models/h1/…).

    A wheel carries its models inside `runtime`, a checkout beside it.
    """
    path, here = Path(path), Path(__file__).resolve().parent
    shipped = [root / path for root in (here, here.parent) if path.parts[:1] == ("models",)]
    found = [item for item in (path, *shipped) if item.is_file()]
    return found[0] if found else path


def load_policy(
    path: str | Path, *, engine: str = "ort", threads: int = 1, calibration: Path | None = None
) -> Policy:
    """Load a policy on the chosen engine, or say why not; never on another one.

    engine: `ort` (ONNX Runtime, CPU), `ort-cuda`, `ort-tensorrt` (its GPU providers), `tensorrt`,
    `tensorrt-fp16`, `tensorrt-int8` (an engine built here; int8 is calibrated on the observations
    in `calibration`, if not given calibration.npy beside the policy).
    """
    path = find_policy(path)
    if engine in PROVIDERS:
        return OnnxPolicy(path, threads=threads, engine=engine)
    if engine in TENSORRT:
        from runtime.trt_policy import TrtPolicy

        return TrtPolicy(path, precision=TENSORRT[engine], calibration=calibration)
    raise PolicyError(f"engine '{engine}' unknown; there are {list(ENGINES)}")


def open_session(path: Path, threads: int = 1, engine: str = "ort") -> Any:
    """Open an ONNX file; raise PolicyError if it is missing, cut short or not ONNX.

    Also if ONNX Runtime lacks the provider of `engine`, or leaves it for the CPU.
    """
    if not path.is_file():
        folder = path.parent if path.parent.is_dir() else Path()
        near = sorted(str(item) for item in folder.glob("*.onnx"))
        where = f"{folder.resolve()} holds {near or 'no ONNX file'}"
        raise PolicyError(
            f"policy file {path} does not exist ({where}; the shipped one is models/h1/policy.onnx)"
        )
    providers = PROVIDERS[engine]
    check_providers(engine, providers)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    if engine != "ort":
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # ONNX Runtime raises a class of its own per cause
        size = path.stat().st_size
        kind = "is not a readable ONNX file" if engine == "ort" else f"does not run on {engine}"
        raise PolicyError(f"{path} ({size} bytes) {kind}: {error}") from error
    if session.get_providers()[0] != providers[0][0]:
        raise PolicyError(
            f"engine '{engine}' asks for {providers[0][0]}, ONNX Runtime fell back to "
            f"{session.get_providers()}: the provider's own libraries are missing or do not fit"
        )
    return session


def check_providers(engine: str, providers: list[tuple[str, dict[str, str]]]) -> None:
    """Raise PolicyError unless this ONNX Runtime was built with the engine's first provider."""
    there = onnxruntime.get_available_providers()
    if providers[0][0] not in there:
        raise PolicyError(
            f"engine '{engine}' needs ONNX Runtime's {providers[0][0]}, this build has {there}; "
            "install onnxruntime-gpu in its place, or take engine=ort, which runs everywhere"
        )


def check_graph(session: Any, spec: PolicySpec, path: Path) -> None:
    """Raise PolicyError unless the graph maps observation [N, size] to action [N, 19], float32."""
    ends = [("input", "observation", spec.observation_size, session.get_inputs())]
    ends.append(("output", "action", len(spec.joint_names), session.get_outputs()))
    for side, name, size, found in ends:
        given = [(item.name, item.type, item.shape) for item in found]
        fits = len(found) == 1 and found[0].name == name and found[0].type == "tensor(float)"
        if not fits or len(found[0].shape) != 2 or found[0].shape[1] != size:
            raise PolicyError(
                f"{path}: expected one {side} '{name}' float32 [N, {size}], graph has {given}"
            )


def check_golden(policy: Policy, tolerance: float = GOLDEN_TOLERANCE) -> None:
    """Raise PolicyError unless the engine answers the golden observation as the trainer did."""
    spec = policy.spec
    action = policy.infer(np.asarray(spec.golden_observation, np.float32))
    error = np.abs(action - np.asarray(spec.golden_action))
    worst = int(np.argmax(np.where(np.isnan(error), np.inf, error)))
    if not error[worst] <= tolerance:
        raise PolicyError(
            f"golden vector: {spec.joint_names[worst]} is {action[worst]:.6g} on this engine, "
            f"{spec.golden_action[worst]:.6g} in the policy (tolerance {tolerance:g})"
        )


__all__ = ["OnnxPolicy", "Policy", "PolicyError", "SpecError", "find_policy", "load_policy"]
