"""What the policy node tells the world about itself: the ~/state record and /diagnostics.

Plain functions of a reading and the loop's figures; knows no node.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus

from ezm_runtime.convert import diagnostic
from ezm_runtime.wishes import Wishes
from runtime.frames import SERVER_STAGES
from runtime.histogram import Quantiles
from runtime.link import Reading
from runtime.loop import ControlLoop
from runtime.modes import Mode
from runtime.monitors import MONITORS
from runtime.policy import Policy

STALE = 0.2  # s, age of the robot's state from which the node calls itself ill


def state_record(
    lifecycle: str, reading: Reading | None, loop: ControlLoop | None, wishes: Wishes
) -> dict[str, Any]:
    """Return what ~/state says, ready for JSON: unknown numbers are None."""
    record: dict[str, Any] = {"lifecycle": lifecycle, "mode": None, "task": wishes.task}
    record["heading"] = round(wishes.heading, 4)  # rad
    if reading is not None:
        velocity = reading.state.base_linear_velocity
        record |= {
            "mode": reading.mode.name,
            "robot_task": reading.task,
            "height": _known(reading.state.base_position[2]),  # m
            "speed": _known(math.hypot(velocity[0], velocity[1])),  # m/s
            "falls": reading.falls,
            "return": _known(reading.reward_sum),
            "policy_ticks": reading.policy_ticks,
            "state_age_ms": round(reading.age * 1e3, 3),
            "reason": reading.reason,
            "fault": reading.fault,
            "estop": reading.mode is Mode.ESTOP,
        }
    if loop is not None:
        record |= {name: _known(value) for name, value in asdict(loop.stats()).items()}
        record["error"] = loop.error
    return record


def diagnostics(
    name: str, reading: Reading | None, loop: ControlLoop | None, policy: Policy | None
) -> list[DiagnosticStatus]:
    """Return the lines of /diagnostics: robot, control loop, policy."""
    lines = [_robot(name, reading)]
    if loop is not None:
        lines.append(_loop(name, loop))
    if policy is not None:
        values: dict[str, object] = {"tasks": " ".join(policy.spec.tasks)}
        values |= {key: value for key, value in policy.spec.provenance.items()}
        lines.append(
            diagnostic(f"{name}: policy", DiagnosticStatus.OK, policy.spec.name, values),
        )
    return lines


def _robot(name: str, reading: Reading | None) -> DiagnosticStatus:
    label = f"{name}: robot"
    if reading is None:
        return diagnostic(label, DiagnosticStatus.STALE, "no word from the robot process", {})
    level, said = DiagnosticStatus.OK, reading.mode.name
    if reading.age > STALE:
        level, said = DiagnosticStatus.STALE, f"state is {reading.age:.2f} s old"
    elif reading.mode is Mode.ESTOP:
        level, said = DiagnosticStatus.ERROR, f"ESTOP: {reading.fault}"
    elif reading.mode not in (Mode.POLICY, Mode.HOLD):
        level = DiagnosticStatus.WARN
    values: dict[str, object] = {
        "mode": reading.mode.name,
        "state_age_ms": reading.age * 1e3,
        "target_age_ms": reading.target_age * 1e3,
        "falls": reading.falls,
        "late_ticks": reading.late_ticks,
        "realtime": str(reading.realtime),
        "refused_frames": reading.refused,
        "reason": reading.reason,
        "fault": reading.fault,
    }
    for monitor, count in zip(MONITORS, reading.monitors, strict=True):
        values[f"fired_{monitor}"] = int(count)
    for stage, row in zip(SERVER_STAGES, reading.stage_us, strict=True):
        for quantile, value in zip(Quantiles._fields, row, strict=True):
            values[f"{stage}_us_{quantile}"] = round(float(value), 1)
    return diagnostic(label, level, said, values)


def _loop(name: str, loop: ControlLoop) -> DiagnosticStatus:
    stats = loop.stats()
    level, said = DiagnosticStatus.OK, f"{stats.hz:.1f} Hz"
    if loop.error:
        level, said = DiagnosticStatus.ERROR, loop.error
    elif stats.deadline_misses:
        level = DiagnosticStatus.WARN
    values: dict[str, object] = {**asdict(stats), "realtime": str(loop.realtime)}
    for stage, quantiles in loop.quantiles().items():
        values |= {f"{stage}_us_{k}": round(v, 1) for k, v in quantiles._asdict().items()}
    return diagnostic(f"{name}: control loop", level, said, values)


def _known(value: float, digits: int = 4) -> float | None:
    if isinstance(value, int):
        return value
    return round(float(value), digits) if math.isfinite(value) else None
