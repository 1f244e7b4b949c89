"""Ask the system for punctuality, and say what it gave.

Ask early, in the main thread: threads inherit what it got. A control thread alone under SCHED_FIFO
still waits for the interpreter's lock, and for the wire's own thread, while these are starved.
Child processes inherit it too: those that draw or listen must `relax`.
"""

from __future__ import annotations

import os

ROBOT, CONTROL, REST = 50, 40, 20  # priorities: the robot process, a control thread, its company


def ask_for_realtime(priority: int) -> bool:
    """Ask for SCHED_FIFO for the calling thread; return whether it was given.

    Needs CAP_SYS_NICE or an rtprio limit; without, everything works with more jitter.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except (OSError, AttributeError):
        return False
    return True


def relax() -> None:
    """Go back to ordinary scheduling."""
    if hasattr(os, "SCHED_OTHER"):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
