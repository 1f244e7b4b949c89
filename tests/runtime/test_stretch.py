"""tools/stretch.c: programs on slower clocks do not notice; a watch beside them does."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "tools" / "stretch.c"
WAITS = """
import ctypes, os, select, threading, time
import zmq

def lasts(wait, name):
    begin = time.monotonic(), time.perf_counter(), time.time()
    wait()
    for clock, then in zip((time.monotonic, time.perf_counter, time.time), begin):
        took = clock() - then
        assert 0.09 <= took < 0.4, (name, clock, took)

socket = zmq.Context.instance().socket(zmq.SUB)
socket.bind("inproc://nobody")
cycle = ctypes.c_long * 4
libc = ctypes.CDLL(None)
clock = libc.timerfd_create(1, 0)
libc.timerfd_settime(clock, 0, ctypes.byref(cycle(0, 100_000_000, 0, 100_000_000)), None)
lasts(lambda: os.read(clock, 8), "timerfd")
lasts(lambda: time.sleep(0.1), "sleep")
lasts(lambda: select.select([], [], [], 0.1), "select")
lasts(lambda: threading.Event().wait(0.1), "event")
lasts(lambda: socket.poll(100), "zmq")
"""


@pytest.mark.skipif(
    shutil.which("cc") is None or platform.machine() != "x86_64" or sys.platform != "linux",
    reason="NOT TESTED HERE: tools/stretch.c needs a C compiler and x86-64 Linux",
)
def test_all_waits_last_as_long_as_they_should_on_clocks_that_run_five_times_slower(tmp_path):
    library = tmp_path / "stretch.so"
    flags = ("-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")
    subprocess.run(["cc", *flags, "-o", str(library), str(SOURCE), "-ldl"], check=True)
    slow = {"LD_PRELOAD": str(library), "STRETCH": "5", "STRETCH_EPOCH": str(int(time.time()))}
    begin = time.monotonic()
    subprocess.run([sys.executable, "-c", WAITS], env=os.environ | slow, check=True, timeout=60)
    assert time.monotonic() - begin > 2.5, "five waits of 0.1 s, five times as long"
