"""The 50 Hz control loop: read, observe, infer, send, on absolute deadlines, with its own books.

Used by `runtime/run.py` and by the ROS 2 node alike, in a thread of its own. Safety is not here:
it lives in the robot process. Knows the wire's client by its few methods only.
"""

from __future__ import annotations

import gc
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from runtime.histogram import Quantiles, Stages
from runtime.link import LinkError, Reading
from runtime.policy import Policy
from runtime.realtime import CONTROL, Granted, ask_for_realtime, frozen_heap
from runtime.state import Command, JointTargets
from runtime.ticker import Ticker

STATE_TIMEOUT = 0.1  # s, an older state is not worth an action
WINDOW = 3000  # ticks kept for the percentiles: one minute
LEAD = 0.0012  # s before a deadline in which the tick is rehearsed: its caches are warm then
COLLECT_EVERY = 50  # ticks between two looks of the garbage collector, right after a tick's work
LOOP_STAGES = ("age", "read", "observe", "infer", "send", "tick", "late")


class Client(Protocol):
    """What the loop needs of a wire."""

    def reading(self) -> Reading | None:
        """Return the newest reading; never block."""
        ...

    def wait(self, timeout: float) -> Reading:
        """Wait for a new reading."""
        ...

    def send_targets(self, targets: JointTargets) -> None:
        """Send targets; never block."""
        ...


@dataclass(frozen=True, slots=True)
class LoopStats:
    """What the loop did so far; percentiles are over the last minute."""

    ticks: int
    seconds: float
    hz: float
    deadline_misses: int  # ticks that could not be done in their own period
    stale_ticks: int  # ticks without a fresh state: nothing sent
    bad_observations: int  # observation or action with a number that is none: nothing sent
    tick_us_p50: float  # read, observe, infer, send
    tick_us_p99: float
    tick_us_max: float
    late_us_p50: float  # wake-up after the deadline
    late_us_p99: float
    state_age_us_p50: float  # from the robot's stamp to the targets; same machine only
    state_age_us_p99: float


# monotonic s, what was read, what was sent last, what was wished
Tick = tuple[float, Reading, JointTargets | None, Command]


class ControlLoop:
    """Paces a Ticker at the policy's control rate. Change `command` at any time."""

    def __init__(
        self,
        policy: Policy | Sequence[Policy],
        client: Client,
        command: Command,
        *,
        rehearse: bool = True,
        core: int = -1,
    ) -> None:
        self.client, self.ticker = client, Ticker(policy, command)
        self.period = self.ticker.policy.spec.control_dt  # s
        self.rehearse, self.core = rehearse, core
        self.stages = Stages(*LOOP_STAGES)  # since the last reset_stats
        self.reading: Reading | None = None
        self.targets: JointTargets | None = None
        self.error = ""
        self.history: deque[Tick] | None = None  # every tick, for whoever sets it
        self.realtime = Granted.NOTHING  # what the system gave the thread
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._rehearsal = 0.0005  # s, how long one takes
        self._begin = self._last = 0.0  # s, the first and the last tick in the books
        self._ticks = self._misses = self._stale = 0
        self._parts: tuple[float, float] | None = None  # s: reading and sending in the last tick
        self._books = np.zeros((WINDOW, 3))  # s: work, wake-up, state age; a ring

    @property
    def command(self) -> Command:
        """What the person wants; a single reference, swapped whole."""
        return self.ticker.command

    @command.setter
    def command(self, command: Command) -> None:
        self.ticker.command = command

    def start(self) -> None:
        """Run in a thread of its own."""
        self._stop.clear()
        self._thread = threading.Thread(target=self.run, name="control", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the loop and wait for its thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)

    @property
    def running(self) -> bool:
        """True while the thread ticks."""
        return self._thread is not None and self._thread.is_alive()

    def run(self) -> None:
        """Tick until `stop`; an exception ends the loop and is kept in `error`."""
        try:
            self._run()
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"

    def reset_stats(self) -> None:
        """Start the books anew, for example when POLICY is entered."""
        self.stages.clear()
        self._ticks = self._misses = self._stale = self.ticker.bad = 0

    def stats(self) -> LoopStats:
        """Return the books so far."""
        ticks, misses, seconds = self._ticks, self._misses, max(0.0, self._last - self._begin)
        books = self.latencies() if ticks else np.zeros((1, 3))
        tick, late, age = (np.percentile(books[:, i], [50, 99, 100]) for i in range(3))
        return LoopStats(
            ticks=ticks,
            seconds=seconds,
            hz=(ticks - 1) / seconds if seconds and ticks > 1 else 0.0,
            deadline_misses=misses,
            stale_ticks=self._stale,
            bad_observations=self.ticker.bad,
            tick_us_p50=float(tick[0]),
            tick_us_p99=float(tick[1]),
            tick_us_max=float(tick[2]),
            late_us_p50=float(late[0]),
            late_us_p99=float(late[1]),
            state_age_us_p50=float(age[0]),
            state_age_us_p99=float(age[1]),
        )

    def latencies(self) -> np.ndarray:
        """Return the last minute's [n, 3] in us: the tick's work, its wake-up, its state's age."""
        return self._books[: min(self._ticks, WINDOW)] * 1e6

    def quantiles(self) -> dict[str, Quantiles]:
        """Return p50, p95, p99 and the longest of every stage since `reset_stats`, us."""
        return self.stages.quantiles()

    def _run(self) -> None:
        try:  # begin just after a state: on one machine the two clocks then stay in step
            self.client.wait(5.0)
        except LinkError as error:
            self.error = str(error)
            return
        self.realtime = ask_for_realtime(CONTROL, core=self.core)
        with frozen_heap():
            self._pace()

    def _pace(self) -> None:
        deadline = time.monotonic() + self.period
        self.reset_stats()
        while not self._stop.is_set():
            self._wait_until(deadline)
            woke = time.monotonic()
            self._tick()
            now = time.monotonic()
            self._account(deadline, woke, now)
            if self.reading is not None and self.history is not None:
                self.history.append((woke, self.reading, self.targets, self.command))
            if self._ticks % COLLECT_EVERY == 0:
                gc.collect(1)
            missed = max(0, int((now - deadline) / self.period))  # skipped, never caught up
            self._misses += missed
            deadline += (1 + missed) * self.period

    def _wait_until(self, deadline: float) -> None:
        """Sleep; then, shortly before the deadline, rehearse the tick and watch the clock."""
        lead = LEAD if self.rehearse else 0.0
        pause = deadline - lead - time.monotonic()
        if pause > 0.0:
            time.sleep(pause)
        if not self.rehearse:
            return
        reading = self.client.reading()
        rehearsed = False
        while reading is not None and reading.state.finite:
            begin = time.monotonic()
            if deadline - begin < self._rehearsal:
                break
            self.ticker.rehearse(reading.state, reading.mode)
            self._rehearsal = min(time.monotonic() - begin, LEAD)
            rehearsed = True
        if not rehearsed:
            self._rehearsal *= 0.9  # where they were slow, one is tried again soon
        while time.monotonic() < deadline:
            pass

    def _account(self, deadline: float, woke: float, now: float) -> None:
        self._ticks += 1
        self._begin = deadline if self._ticks == 1 else self._begin
        self._last = deadline
        stamp = woke if self.reading is None else self.reading.state.stamp
        row = self._books[(self._ticks - 1) % WINDOW]
        row[0], row[1], row[2] = now - woke, woke - deadline, now - stamp
        add = self.stages.histograms
        if self._parts is not None:  # counted here, when the targets are on their way
            add["read"].add(self._parts[0])
            add["send"].add(self._parts[1])
            add["observe"].add(self.ticker.observe_s)
            add["infer"].add(self.ticker.infer_s)
        add["tick"].add(now - woke)
        add["late"].add(max(0.0, woke - deadline))
        add["age"].add(max(0.0, now - stamp))

    def _tick(self) -> None:
        begin = time.perf_counter()
        self._parts = None
        reading = self.client.reading()
        self.reading = reading
        if reading is None or reading.age > STATE_TIMEOUT:
            self._stale += 1
            return
        read = time.perf_counter()
        targets = self.ticker.tick(reading.state, reading.mode)
        if targets is None:
            return
        ticked = time.perf_counter()
        self.targets = targets
        self.client.send_targets(targets)
        self._parts = read - begin, time.perf_counter() - ticked
