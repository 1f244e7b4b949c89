"""What the machine itself misses: an empty loop, `python -m runtime.metronome 10` (seconds).

Beside a measurement it tells a loop's own lateness from that of a host that takes the processor
away: what misses a deadline here had nothing to do but to wake up, before everybody else.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from runtime.h1 import CONTROL_DT
from runtime.histogram import Histogram, Quantiles
from runtime.realtime import ROBOT, ask_for_realtime, frozen_heap

PRIORITY = ROBOT + 10  # nobody of ours comes first


def listen(seconds: float, period: float = CONTROL_DT) -> dict[str, Any]:
    """Wake up every `period`, s, for so long; return how late, us, and how many were missed."""
    late, missed, ticks = Histogram(), 0, 0
    granted = ask_for_realtime(PRIORITY)
    with frozen_heap():
        begin = time.monotonic()
        deadline = begin + period
        while deadline - begin < seconds:
            time.sleep(max(0.0, deadline - time.monotonic()))
            lateness = time.monotonic() - deadline
            late.add(lateness)
            skipped = int(lateness / period)
            missed, ticks = missed + skipped, ticks + 1
            deadline += (1 + skipped) * period
    hz = ticks / (time.monotonic() - begin)
    told = {"late": late.quantiles()._asdict(), "hz": hz, "missed": missed}
    return told | {"realtime": str(granted)}


@contextlib.contextmanager
def beside(seconds: float) -> Iterator[dict[str, Any]]:
    """Listen in a process of its own while the block runs; the dict is filled when it ends."""
    command = [sys.executable, "-m", "runtime.metronome", str(seconds)]
    told: dict[str, Any] = {}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield told
        out, _ = process.communicate(timeout=seconds + 30.0)
        told |= json.loads(out)
        told["late"] = Quantiles(**told["late"])
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    print(json.dumps(listen(float(sys.argv[1]))))
