"""The 50 Hz control loop: read, observe, infer, send, on absolute deadlines, with its own books.

Used by `runtime/run.py` and by the ROS 2 node alike, in a thread of its own. Safety is not here:
it lives in the robot process. Knows the wire's client by its few methods only.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from runtime.link import LinkError, Reading
from runtime.modes import Mode
from runtime.observation import Memory, observe, remember
from runtime.policy import Policy
from runtime.realtime import CONTROL, ask_for_realtime
from runtime.state import Command, JointTargets, RobotState

STATE_TIMEOUT = 0.1  # s, an older state is not worth an action
WINDOW = 3000  # ticks kept for the percentiles: one minute


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


class Ticker:
    """One control tick: observation, action, targets. Owns the policy's memory and no clock."""

    def __init__(self, policy: Policy, command: Command) -> None:
        self.policy, self.command = policy, command
        self.bad = 0
        self._spec = policy.spec
        self._memory = Memory.create(self._spec)
        self._task = command.task
        self._stiffness = np.asarray(self._spec.stiffness)
        self._damping = np.asarray(self._spec.damping)
        self._seq = 0

    def tick(self, state: RobotState, mode: Mode) -> JointTargets | None:
        """Return the targets for a state, or None if the policy cannot be asked.

        Outside POLICY the memory starts anew at every tick, so that the first action in POLICY is
        the first action of an episode; so it does when the task changes.
        """
        command = self.command
        if mode is not Mode.POLICY or command.task != self._task:
            self._memory.reset()
            self._task = command.task
        observation = observe(state, command, self._spec, self._memory)
        action = self.policy.infer(observation) if _finite(observation) else observation
        if not _finite(action):
            self._memory.reset()
            self.bad += 1
            return None
        remember(self._memory, action)
        self._seq += 1
        return JointTargets(
            seq=self._seq,
            stamp=time.monotonic(),
            position=self._spec.target(action),
            stiffness=self._stiffness,
            damping=self._damping,
        )


def _finite(row: np.ndarray) -> bool:
    return bool(np.isfinite(row).all())


Tick = tuple[float, Reading, JointTargets | None]  # monotonic s, what was read, what was sent


class ControlLoop:
    """Paces a Ticker at the policy's control rate. Change `command` at any time."""

    def __init__(self, policy: Policy, client: Client, command: Command) -> None:
        self.client, self.ticker = client, Ticker(policy, command)
        self.period = policy.spec.control_dt  # s
        self.reading: Reading | None = None
        self.targets: JointTargets | None = None
        self.error = ""
        self.history: deque[Tick] | None = None  # every tick, for whoever sets it
        self.realtime = False  # the thread runs under SCHED_FIFO
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._begin = self._last = 0.0  # s, the first and the last tick in the books
        self._ticks = self._misses = self._stale = 0
        self._books: deque[tuple[float, float, float]] = deque(maxlen=WINDOW)

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
        self._books.clear()
        self._ticks = self._misses = self._stale = self.ticker.bad = 0

    def stats(self) -> LoopStats:
        """Return the books so far."""
        ticks, misses, seconds = self._ticks, self._misses, max(0.0, self._last - self._begin)
        books = np.array(self._books or [(0.0, 0.0, 0.0)]) * 1e6
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

    def _run(self) -> None:
        try:  # begin just after a state: on one machine the two clocks then stay in step
            self.client.wait(5.0)
        except LinkError as error:
            self.error = str(error)
            return
        self.realtime = ask_for_realtime(CONTROL)
        deadline = time.monotonic() + self.period
        self.reset_stats()
        while not self._stop.is_set():
            pause = deadline - time.monotonic()
            if pause > 0.0:
                time.sleep(pause)
            woke = time.monotonic()
            self._tick()
            now = time.monotonic()
            self._ticks += 1
            self._begin = deadline if self._ticks == 1 else self._begin
            self._last = deadline
            stamp = woke if self.reading is None else self.reading.state.stamp
            self._books.append((now - woke, woke - deadline, now - stamp))
            if self.reading is not None and self.history is not None:
                self.history.append((woke, self.reading, self.targets))
            missed = max(0, int((now - deadline) / self.period))  # skipped, never caught up
            self._misses += missed
            deadline += (1 + missed) * self.period

    def _tick(self) -> None:
        reading = self.client.reading()
        self.reading = reading
        if reading is None or reading.age > STATE_TIMEOUT:
            self._stale += 1
            return
        targets = self.ticker.tick(reading.state, reading.mode)
        if targets is not None:
            self.targets = targets
            self.client.send_targets(targets)
