"""The report of a recording: modes, latencies, torques against limits, tracking, a few joints."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from reports import charts
from reports.page import Part, Plots, Table
from runtime import h1
from runtime.bag import Bag, load
from runtime.modes import Mode

TICK_US = h1.PHYSICS_DT * 1e6
SHOWN = (
    "left_hip_pitch",
    "left_knee",
    "left_ankle",
    "right_hip_pitch",
    "right_knee",
    "right_ankle",
)


def report(path: Path) -> tuple[str, list[Part], dict[str, Any]]:
    """Return title, parts and the figures of the last line."""
    bag = load(path)
    if not len(bag.time):
        raise ValueError(f"{path} holds no state of the robot process")
    seconds = bag.time - bag.time[0]
    about = [
        (key, value if len(value) < 200 else f"{value[:200]} …") for key, value in bag.about.items()
    ]
    parts: list[Part] = [Table(("recorded with", ""), about)] if about else []
    parts += ["## What happened", _happened(bag), *_events(bag), "## Latency", _latencies(bag)]
    share = np.abs(bag.torque).max(0) / h1.TORQUE_LIMIT
    torque = dict(zip(h1.JOINT_NAMES, share.tolist(), strict=True))
    error = np.sqrt(np.mean((bag.written - bag.position)[bag.in_policy] ** 2, axis=0))
    tracking = dict(zip(h1.JOINT_NAMES, error.tolist(), strict=True)) if bag.in_policy.any() else {}
    drawn = [charts.bars("largest torque, of its limit", torque, 1.0, "")]
    if tracking and np.isfinite(error).all():
        most = max(tracking.values()) * 1.05 + 1e-9
        drawn.append(charts.bars("target to position in POLICY, rms", tracking, most, "rad"))
    parts += ["## Joints", Plots(drawn)]
    drawn = [_joint(bag, seconds, name) for name in SHOWN]
    parts += ["## Curves of the legs, rad", Plots([plot for plot in drawn if plot])]
    facts = {"kind": "recording", "seconds": round(float(seconds[-1]), 3), "states": len(seconds)}
    return f"Recording: {path.name}", parts, facts | {"ticks": len(bag.ticks)}


def _happened(bag: Bag) -> Table:
    mode = bag.process["mode"].astype(int)
    rows = []
    starts = np.flatnonzero(np.diff(mode, prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(mode)], strict=True):
        length = bag.time[end - 1] - bag.time[start]
        begin = bag.time[start] - bag.time[0]
        rows.append([f"{begin:.3f}", Mode(int(mode[start])).name, f"{length:.3f}"])
    return Table(("s", "mode", "for, s"), rows)


def _events(bag: Bag) -> list[Part]:
    rows = [
        [f"{time - bag.time[0]:.3f}", ", ".join(f"{k} {v}" for k, v in said.items() if v != "")]
        for time, said in bag.events
    ]
    return [Table(("s", "said"), rows)] if rows else []


def _latencies(bag: Bag) -> Plots:
    work = bag.process["tick_us"]
    gaps = np.diff(bag.process["stamp"]) * 1e6
    age = bag.process["target_age"][bag.in_policy] * 1e6
    return Plots(
        [
            charts.histogram("robot process: work of a 2 ms tick", work, "us", TICK_US),
            charts.histogram("robot process: from state to state", gaps, "us", TICK_US),
            charts.histogram("age of the targets in POLICY", age, "us", h1.CONTROL_DT * 1e6),
        ]
    )


def _joint(bag: Bag, seconds: np.ndarray, name: str) -> str:
    joint = h1.JOINT_NAMES.index(name)
    step = max(1, math.ceil(len(seconds) / charts.MOST_POINTS))
    lines = {
        label: list(zip(seconds[::step].tolist(), rows[::step, joint].tolist(), strict=True))
        for label, rows in (("written", bag.written), ("position", bag.position))
    }
    for label, value in (("lower", h1.JOINT_LOWER[joint]), ("upper", h1.JOINT_UPPER[joint])):
        lines[label] = [(0.0, float(value)), (float(seconds[-1]), float(value))]
    return charts.lines(name, "s", "rad", lines)
