"""Ask the system for punctuality, and say what it gave.

Ask from inside the thread that needs it, early: threads inherit what it got. A control thread
alone under SCHED_FIFO still waits for the interpreter's lock, and for the wire's own thread, while
these are starved. Child processes inherit it too: those that draw or listen must `relax`.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
from collections.abc import Iterator
from enum import IntFlag

ROBOT, CONTROL, REST = 50, 40, 20  # priorities: the robot process, a control thread, its company
_CURRENT, _FUTURE = 1, 2  # MCL_CURRENT, MCL_FUTURE


class Granted(IntFlag):
    """What the system gave."""

    NOTHING = 0
    FIFO = 1  # this thread runs under SCHED_FIFO
    AFFINITY = 2  # this thread is bound to the core it asked for
    MEMORY = 4  # the process's memory is locked

    def __str__(self) -> str:
        names = [item.name.lower() for item in Granted if item and item in self and item.name]
        return "+".join(names) or "nothing"


def ask_for_realtime(priority: int, *, core: int = -1, lock: bool = False) -> Granted:
    """Ask for SCHED_FIFO, a core (-1: any), locked memory; return what was given.

    Needs CAP_SYS_NICE or an rtprio limit, and a memlock limit; without, everything works with
    more jitter.
    """
    granted = Granted.NOTHING
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
        granted |= Granted.FIFO
    if core >= 0:
        with contextlib.suppress(OSError, AttributeError):
            os.sched_setaffinity(0, {core})
            granted |= Granted.AFFINITY
    if lock and _lock_memory():
        granted |= Granted.MEMORY
    return granted


def relax() -> None:
    """Go back to ordinary scheduling."""
    if hasattr(os, "SCHED_OTHER"):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _lock_memory() -> bool:
    """Lock all pages, those of later too; a child process does not inherit it."""
    try:
        return ctypes.CDLL(None, use_errno=True).mlockall(_CURRENT | _FUTURE) == 0
    except (OSError, AttributeError):
        return False


@contextlib.contextmanager
def frozen_heap() -> Iterator[None]:
    """Take the garbage collector out of the way while the block is active.

    What exists is frozen: a collection by hand (`gc.collect(1)` in a pause) looks at new things
    only.
    """
    was_enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()
