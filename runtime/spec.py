"""PolicySpec: the contract between trainer and robot, carried as JSON inside the ONNX file.

Written once by the trainer, validated field by field against the robot on loading, so that a
policy trained for other gains, another joint order or another action map cannot run by accident.
Knows no engine and no observation code; it only names the observation blocks.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from runtime import h1

SPEC_VERSION = 1
METADATA_KEY = "ezm_policy_spec"

# name -> (size, scale, sim_only); the task block's size is the number of tasks
BLOCKS: dict[str, tuple[int, float, bool]] = {
    "gravity": (3, 1.0, False),
    "angular_velocity": (3, 1.0, False),
    "heading": (2, 1.0, False),
    "joint_position": (19, 1.0, False),
    "joint_velocity": (19, 0.05, False),
    "previous_action": (19, 1.0, False),
    "velocity": (3, 1.0, False),
    "task": (0, 1.0, False),
    "base_height": (1, 1.0, True),
    "base_linear_velocity": (3, 1.0, True),
}


class SpecError(ValueError):
    """A policy's contract is broken, or does not fit this robot."""


@dataclass(frozen=True)
class ObservationBlock:
    """One named stretch of the observation: `history` frames of `size` numbers, times `scale`."""

    name: str
    size: int
    scale: float = 1.0
    history: int = 1
    sim_only: bool = False  # no real robot measures it


@dataclass(frozen=True)
class PolicySpec:
    """Everything a robot must know to run one policy; joint tuples are in `joint_names` order."""

    name: str
    joint_names: tuple[str, ...]
    default_pose: tuple[float, ...]  # rad
    stiffness: tuple[float, ...]  # N m / rad
    damping: tuple[float, ...]  # N m s / rad
    torque_limit: tuple[float, ...]  # N m
    action_map: str
    action_offset: tuple[float, ...]  # rad; target = clip(offset + scale * action, joint range)
    action_scale: tuple[float, ...]  # rad
    observation: tuple[ObservationBlock, ...]
    tasks: tuple[str, ...]
    control_dt: float = h1.CONTROL_DT  # s
    robot: str = "h1"
    spec_version: int = SPEC_VERSION
    provenance: dict[str, str] = field(default_factory=dict)
    golden_observation: tuple[float, ...] = ()  # [observation_size]
    golden_action: tuple[float, ...] = ()  # [19], what the trainer's own network answers to it

    @property
    def observation_size(self) -> int:
        """Length of the observation vector."""
        return sum(block.size * block.history for block in self.observation)

    @property
    def sim_only(self) -> tuple[str, ...]:
        """Names of the blocks that no real robot can measure."""
        return tuple(block.name for block in self.observation if block.sim_only)

    def target(self, action: np.ndarray) -> np.ndarray:
        """Turn actions [..., 19] into joint targets [..., 19], rad, inside the joint range."""
        raw = np.asarray(self.action_offset) + np.asarray(self.action_scale) * action
        return np.clip(raw, h1.JOINT_LOWER, h1.JOINT_UPPER)

    def to_json(self) -> str:
        """Write the spec at full float precision."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> PolicySpec:
        """Read what `to_json` wrote; raise SpecError naming the field that is missing or wrong."""
        try:
            raw = json.loads(text)
        except json.JSONDecodeError as error:
            raise SpecError(f"policy spec is not JSON: {error}") from None
        if not isinstance(raw, dict):
            raise SpecError(f"policy spec must be a JSON object, got {type(raw).__name__}")
        return _from_dict(raw)

    def attach(self, onnx_path: str | Path) -> None:
        """Store this spec in the metadata of an ONNX file (needs the `onnx` package)."""
        import onnx

        model = onnx.load(str(onnx_path))
        kept = [entry for entry in model.metadata_props if entry.key != METADATA_KEY]
        del model.metadata_props[:]
        model.metadata_props.extend(kept)
        entry = model.metadata_props.add()
        entry.key, entry.value = METADATA_KEY, self.to_json()
        onnx.save(model, str(onnx_path))

    @classmethod
    def read(cls, onnx_path: str | Path) -> PolicySpec:
        """Read the spec out of an ONNX file with ONNX Runtime."""
        from runtime.policy import open_session

        return spec_of_session(open_session(Path(onnx_path)), Path(onnx_path))

    def validate(self, robot: ModuleType = h1) -> None:
        """Raise SpecError, naming the field, unless this policy was made for `robot`."""
        from runtime.spec_check import check

        check(self, robot)


def spec_of_session(session: Any, path: Path) -> PolicySpec:
    """Return the spec an ONNX Runtime session carries."""
    metadata = session.get_modelmeta().custom_metadata_map
    if METADATA_KEY not in metadata:
        raise SpecError(f"{path} carries no '{METADATA_KEY}' metadata (has: {sorted(metadata)})")
    return PolicySpec.from_json(metadata[METADATA_KEY])


def default_observation(tasks: Sequence[str], history: int = 4) -> tuple[ObservationBlock, ...]:
    """Return the student's usual layout: `history` frames of what an H1 senses, and the task."""
    asked = ("task", "velocity")
    names = [name for name, (_, _, sim) in BLOCKS.items() if not sim and name not in asked]
    return (*(block(name, history) for name in names), block("task", tasks=len(tasks)))


def block(name: str, history: int = 1, *, tasks: int = 0) -> ObservationBlock:
    """Return the block `name` with its usual size and scale."""
    if name not in BLOCKS:
        raise SpecError(f"observation block '{name}' unknown; there are {sorted(BLOCKS)}")
    size, scale, sim_only = BLOCKS[name]
    return ObservationBlock(name, tasks if name == "task" else size, scale, history, sim_only)


def spec_for_h1(
    name: str,
    tasks: Sequence[str],
    action_map: str,
    *,
    observation: tuple[ObservationBlock, ...] | None = None,
    history: int = 4,
    provenance: dict[str, str] | None = None,
) -> PolicySpec:
    """Return a spec for this repository's H1; golden vectors are added once the graph exists."""
    chosen = h1.action_map(action_map)
    return PolicySpec(
        name=name,
        joint_names=tuple(h1.JOINT_NAMES),
        default_pose=_floats(h1.DEFAULT_POSE),
        stiffness=_floats(h1.STIFFNESS),
        damping=_floats(h1.DAMPING),
        torque_limit=_floats(h1.TORQUE_LIMIT),
        action_map=action_map,
        action_offset=_floats(chosen.offset),
        action_scale=_floats(chosen.scale),
        observation=default_observation(tasks, history) if observation is None else observation,
        tasks=tuple(tasks),
        provenance=dict(provenance or {}),
    )


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _from_dict(raw: dict[str, Any]) -> PolicySpec:
    fields = {item.name: item for item in dataclasses.fields(PolicySpec)}
    unknown = sorted(set(raw) - set(fields))
    if unknown:
        raise SpecError(f"policy spec has unknown fields {unknown}; known: {sorted(fields)}")
    missing = sorted(set(fields) - set(raw))
    if missing:
        raise SpecError(f"policy spec lacks the fields {missing}")
    values: dict[str, Any] = {}
    for name, item in fields.items():
        try:
            values[name] = _convert(str(item.type), raw[name])
        except (TypeError, ValueError, KeyError) as error:
            raise SpecError(f"policy spec field '{name}': expected {item.type}: {error}") from None
    return PolicySpec(**values)


def _convert(kind: str, value: Any) -> Any:
    if kind.startswith("tuple"):
        value = _typed(value, list)
    if kind == "tuple[float, ...]":
        return _floats(value)
    if kind == "tuple[str, ...]":
        return tuple(_typed(item, str) for item in value)
    if kind == "tuple[ObservationBlock, ...]":
        return tuple(_block_from_dict(item) for item in value)
    if kind == "dict[str, str]":
        return {_typed(key, str): _typed(item, str) for key, item in _typed(value, dict).items()}
    if kind == "float":
        return float(value)
    return _typed(value, {"int": int, "str": str}[kind])


def _typed(value: Any, kind: type) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"expected {kind.__name__}, got {value!r}")
    return value


def _block_from_dict(raw: Any) -> ObservationBlock:
    raw = _typed(raw, dict)
    return ObservationBlock(
        name=_typed(raw["name"], str),
        size=_typed(raw["size"], int),
        scale=float(raw["scale"]),
        history=_typed(raw["history"], int),
        sim_only=bool(raw["sim_only"]),
    )
