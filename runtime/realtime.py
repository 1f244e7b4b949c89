"""Ask the system for punctuality, from inside the thread that wants it, and say what it gave."""

from __future__ import annotations

import os


def ask_for_realtime(priority: int) -> bool:
    """Ask for SCHED_FIFO for the calling thread; return whether it was given.

    Needs CAP_SYS_NICE or an rtprio limit; without, everything works with more jitter.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except (OSError, AttributeError):
        return False
    return True
