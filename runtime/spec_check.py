"""Whether a PolicySpec fits this robot: every field is compared, and the first misfit is named."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from runtime.spec import SPEC_VERSION, PolicySpec, SpecError, block


def check(spec: PolicySpec, robot: ModuleType) -> None:
    """Raise SpecError, naming the field, unless the spec was made for `robot`."""
    _check_identity(spec, robot)
    _check_joints(spec, robot)
    _check_observation(spec)
    _check_golden(spec)


def _check_identity(spec: PolicySpec, robot: ModuleType) -> None:
    if spec.spec_version != SPEC_VERSION:
        raise SpecError(
            f"spec_version: policy has {spec.spec_version}, this runtime reads {SPEC_VERSION}"
        )
    if spec.robot != "h1":
        raise SpecError(f"robot: policy is for '{spec.robot}', this robot is 'h1'")
    if abs(spec.control_dt - robot.CONTROL_DT) > 1e-12:
        raise SpecError(
            f"control_dt: policy has {spec.control_dt} s, robot runs {robot.CONTROL_DT} s"
        )
    if not spec.tasks or len(set(spec.tasks)) != len(spec.tasks):
        raise SpecError(f"tasks: need at least one, each once; got {list(spec.tasks)}")


def _check_joints(spec: PolicySpec, robot: ModuleType) -> None:
    names = tuple(robot.JOINT_NAMES)
    if spec.joint_names != names:
        same = sorted(spec.joint_names) == sorted(names)
        detail = "the same joints in another order" if same else "other joints"
        pairs = itertools.zip_longest(spec.joint_names, names)
        given, wanted = next(pair for pair in pairs if pair[0] != pair[1])
        raise SpecError(f"joint_names: policy has {detail}: {given} where robot has {wanted}")
    chosen = _map_of(spec, robot)
    expected = {
        "default_pose": robot.DEFAULT_POSE,
        "stiffness": robot.STIFFNESS,
        "damping": robot.DAMPING,
        "torque_limit": robot.TORQUE_LIMIT,
        "action_offset": chosen.offset,
        "action_scale": chosen.scale,
    }
    for name, values in expected.items():
        _check_row(name, getattr(spec, name), values, names)


def _map_of(spec: PolicySpec, robot: ModuleType) -> Any:
    if spec.action_map not in robot.ACTION_MAPS:
        raise SpecError(
            f"action_map: '{spec.action_map}' unknown; there are {sorted(robot.ACTION_MAPS)}"
        )
    return robot.action_map(spec.action_map)


def _check_row(
    name: str, given: tuple[float, ...], expected: np.ndarray, joints: Sequence[str]
) -> None:
    if len(given) != len(joints):
        raise SpecError(f"{name}: expected {len(joints)} values, policy has {len(given)}")
    error = np.abs(np.asarray(given) - expected)
    worst = int(np.argmax(np.where(np.isnan(error), np.inf, error)))
    if not error[worst] <= 1e-6:
        raise SpecError(
            f"{name}: {joints[worst]} is {given[worst]:g} in the policy, "
            f"{expected[worst]:g} on the robot"
        )


def _check_observation(spec: PolicySpec) -> None:
    seen: set[str] = set()
    for item in spec.observation:
        usual = block(item.name, tasks=len(spec.tasks))
        if item.name in seen:
            raise SpecError(f"observation: block '{item.name}' appears twice")
        seen.add(item.name)
        if item.size != usual.size:
            raise SpecError(
                f"observation: block '{item.name}' has size {item.size}, expected {usual.size}"
            )
        if item.sim_only != usual.sim_only:
            raise SpecError(f"observation: block '{item.name}' must say sim_only={usual.sim_only}")
        if (
            item.history < 1
            or not np.isfinite(item.scale)
            or (item.name == "task" and item.history != 1)
        ):
            raise SpecError(
                f"observation: block '{item.name}' has history {item.history}, scale {item.scale}"
            )
    if not seen:
        raise SpecError("observation: no blocks")
    if len(spec.tasks) > 1 and "task" not in seen:
        raise SpecError(f"observation: {len(spec.tasks)} tasks but no 'task' block")


def _check_golden(spec: PolicySpec) -> None:
    for name, size in (
        ("golden_observation", spec.observation_size),
        ("golden_action", len(spec.joint_names)),
    ):
        values = getattr(spec, name)
        if len(values) != size or not np.isfinite(values).all():
            raise SpecError(f"{name}: expected {size} finite values, policy has {len(values)}")
