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
    """A policy on ONNX Runtime's CPU engine: one thread, no spinning."""

    def __init__(self, path: str | Path, *, threads: int = 1) -> None:
        self.path = Path(path)
        self._session = open_session(self.path, threads)
        self.spec = spec_of_session(self._session, self.path)
        self.spec.validate()
        self.provider: str = self._session.get_providers()[0]
        check_graph(self._session, self.spec, self.path)
        check_golden(self)

    def infer(self, observation: np.ndarray) -> np.ndarray:
        """Return the action [..., 19] for float32 observations [..., N]."""
        batch = observation if observation.ndim > 1 else observation[None]
        action = self._session.run(["action"], {"observation": batch})[0]
        return action if observation.ndim > 1 else action[0]


def load_policy(path: str | Path, *, engine: str = "ort", threads: int = 1) -> Policy:
    """Load a policy on the chosen engine: `ort` (ONNX Runtime, CPU) or `tensorrt` (on a device)."""
    if engine == "ort":
        return OnnxPolicy(path, threads=threads)
    if engine == "tensorrt":
        from runtime.trt_policy import TrtPolicy

        return TrtPolicy(path)
    raise PolicyError(f"engine '{engine}' unknown; there are ['ort', 'tensorrt']")


def open_session(path: Path, threads: int = 1) -> Any:
    """Open an ONNX file; raise PolicyError if it is missing, cut short or not ONNX."""
    if not path.is_file():
        near = (
            sorted(str(item) for item in path.parent.glob("*.onnx")) if path.parent.is_dir() else []
        )
        raise PolicyError(f"policy file {path} does not exist (ONNX files beside it: {near})")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises a class of its own per cause
        size = path.stat().st_size
        raise PolicyError(f"{path} ({size} bytes) is not a readable ONNX file: {error}") from error


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


__all__ = ["OnnxPolicy", "Policy", "PolicyError", "SpecError", "load_policy"]
