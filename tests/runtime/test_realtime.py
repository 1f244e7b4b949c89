"""Lifelines, histograms, and what the system is asked for."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.histogram import Histogram, Stages
from runtime.lifeline import Lifeline
from runtime.realtime import Granted, frozen_heap


def test_a_living_process_holds_the_lifeline_and_nobody_always_does():
    assert Lifeline(os.getpid()).holds()
    assert Lifeline(os.getppid()).holds()
    assert Lifeline(0).holds()


def test_a_zombie_is_gone():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    lifeline = Lifeline(child.pid)
    assert lifeline.holds()
    child.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10.0
    while lifeline.holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not lifeline.holds()
    os.kill(child.pid, 0)  # not yet reaped: the number still answers
    child.wait()


def test_a_pid_that_never_was_is_gone():
    assert not Lifeline(2**22 - 1).holds()


def test_another_process_under_the_same_number_is_not_taken_for_the_first():
    lifeline = Lifeline(os.getpid())
    lifeline._born = "1"  # as if the number had been given anew
    assert not lifeline.holds()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3000), st.floats(-6.0, 0.0))
def test_quantiles_are_those_of_numpy_within_two_percent(seed, count, decade):
    durations = 10.0**decade * np.random.default_rng(seed).lognormal(0.0, 0.7, count)
    histogram = Histogram()
    for duration in durations:
        histogram.add(float(duration))
    told = histogram.quantiles()
    expected = np.quantile(durations, [0.5, 0.95, 0.99], method="inverted_cdf") * 1e6
    np.testing.assert_allclose(told[:3], expected, rtol=0.021)
    assert told.max == pytest.approx(durations.max() * 1e6)


@pytest.mark.parametrize("duration", [0.0, -1.0, 1e-12, 1e9])
def test_durations_out_of_range_are_counted_in_the_end_bins(duration):
    histogram = Histogram()
    histogram.add(duration)
    assert histogram.count == 1
    assert histogram.quantiles().p99 <= 1e9 * 1e6


def test_quantiles_read_in_the_middle_of_an_addition_are_those_before_it():
    """A reader's thread once met a count without its bin; that ended the policy node."""
    histogram = Histogram()
    for _ in range(100):
        histogram.add(1e-3)
    before = histogram.quantiles()
    histogram.count += 5  # as `add` leaves it for a moment
    assert histogram.quantiles() == before


def test_an_empty_histogram_and_a_cleared_one_say_nothing():
    stages = Stages("a", "b")
    stages.histograms["a"].add(1.0)
    stages.clear()
    assert set(stages.quantiles()) == {"a", "b"}
    assert all(quantile == (0.0, 0.0, 0.0, 0.0) for quantile in stages.quantiles().values())


def test_the_heap_is_frozen_inside_the_block_and_thawed_by_an_error():
    assert gc.isenabled()
    inside: list[object] = []

    def broken() -> None:
        with frozen_heap():
            inside.extend((gc.isenabled(), gc.get_freeze_count() > 0))
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    assert inside == [False, True]
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_what_was_granted_reads_as_words():
    assert str(Granted.FIFO | Granted.MEMORY) == "fifo+memory"
    assert str(Granted.NOTHING) == "nothing"


def test_asking_tells_what_the_system_says_afterwards():
    """In a process of its own: what was granted is what the kernel reports."""
    code = (
        "import os; from runtime.realtime import *\n"
        "core = min(os.sched_getaffinity(0)); got = ask_for_realtime(CONTROL, core=core)\n"
        "fifo = os.sched_getscheduler(0) == os.SCHED_FIFO\n"
        "assert (Granted.FIFO in got) == fifo, got\n"
        "assert (Granted.AFFINITY in got) == (os.sched_getaffinity(0) == {core}), got\n"
        "relax(); assert os.sched_getscheduler(0) == os.SCHED_OTHER\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
