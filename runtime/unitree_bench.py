"""What the H1's wire costs: `python -m runtime.unitree_bench`. No robot and no network needed.

Processor time of the measuring thread, so that other work on the machine does not count; each step
is repeated in short bursts. Prints a table; the last line is JSON. Where CycloneDDS is installed,
its own deserialiser is measured beside ours. What a paced loop adds: see `runtime.bench`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime import h1
from runtime import unitree_frames as frames
from runtime import unitree_layout as layout
from runtime.cli import parse_or_exit
from runtime.state import JointTargets


@dataclass(frozen=True)
class BenchConfig:
    """How long to measure."""

    bursts: int = 200  # of each step
    burst: int = 50  # repetitions


def sample() -> bytes:
    """Return a LowState payload full of numbers, with a right CRC."""
    rng = np.random.default_rng(0)
    record = np.zeros(1, layout.STATE_RECORD)
    for name in ("q", "dq", "tau_est"):
        record["motor"][name] = rng.normal(size=layout.MOTORS)
    record["quaternion"], record["motor"]["temperature"] = (1.0, 0.0, 0.0, 0.0), 40
    payload = layout.HEADER + record.tobytes()[4:]
    return payload[:-4] + layout.STATE.crc(payload).to_bytes(4, "little")


def measure(step: Callable[[], Any], config: BenchConfig) -> tuple[float, float, float]:
    """Return the shortest, the median and the 99th percentile of a burst's mean, us."""
    found = []
    for _ in range(config.bursts):
        begin = time.thread_time()
        for _ in range(config.burst):
            step()
        found.append((time.thread_time() - begin) / config.burst * 1e6)
    return min(found), float(np.median(found)), float(np.percentile(found, 99))


def steps() -> dict[str, Callable[[], Any]]:
    """Return what is measured, by name."""
    payload, command = sample(), frames.CommandFrame()
    targets = JointTargets(1, 0.0, h1.DEFAULT_POSE, h1.STIFFNESS, h1.DAMPING)

    def receive() -> None:
        if frames.is_whole(payload):
            frames.robot_state(payload, 0.0)

    def send() -> None:
        command.fill(targets)
        command.payload()

    found: dict[str, Callable[[], Any]] = {
        "LowState: size, CRC": lambda: frames.is_whole(payload),
        "LowState: decode": lambda: frames.robot_state(payload, 0.0),
        "LowState: both": receive,
        "LowState: remote": lambda: frames.buttons(payload),
        "LowState: health": lambda: frames.health(payload, 0, 0),
        "LowCmd: fill, CRC, encode": send,
    }
    try:
        from runtime.unitree_idl import LowState
    except ImportError:
        return found
    # the message type carries bytes; its fields are still there for the library's own reader
    plain = LowState.__idl__
    found["the library's object tree"] = lambda: plain.deserialize(payload)
    return found


def main() -> None:
    """Measure and report."""
    config = parse_or_exit(BenchConfig(), sys.argv[1:], "runtime.unitree_bench", __doc__ or "")
    figures: dict[str, float] = {}
    print(f"{'us':<28} {'least':>8} {'median':>8} {'p99':>8}")
    for name, step in steps().items():
        least, median, p99 = measure(step, config)
        print(f"{name:<28} {least:8.2f} {median:8.2f} {p99:8.2f}")
        figures[name] = round(median, 2)
    print(json.dumps({"median_us": figures, "bursts": config.bursts, "burst": config.burst}))


if __name__ == "__main__":
    main()
