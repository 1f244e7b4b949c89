"""Faults of whole processes: real ones, a real wire, real signals. Each takes some seconds.

Here only what another process can see is judged: modes over the wire, and when they came.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

from runtime.link import Reading, RobotClient
from runtime.modes import Mode
from runtime.processes import RobotProcess

LATE = 1.0  # s, on a machine that does other things too; the rig has the exact figure
WORDS = ("guard.tilt=off", "modes.auto_reset=false", "realtime=true")


@dataclass(frozen=True)
class ProcessTrial:
    """What came of one fault of processes."""

    fault: str
    mode: str  # at the end
    damped: float  # s from the fault to DAMPING as a listener saw it; NaN: not asked for
    complaint: str


class Commander:
    """A control loop in a process of its own."""

    def __init__(self, endpoint: str, policy: str) -> None:
        words = ["-m", "runtime.faults.commander", endpoint, policy]
        self.process = subprocess.Popen([sys.executable, *words])

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def end(self) -> None:
        """Kill it, whatever state it is in."""
        self.process.kill()
        self.process.wait()


def until(listener: RobotClient, modes: set[Mode], patience: float) -> tuple[float, Reading | None]:
    """Wait for one of the modes; return the seconds it took, NaN if it did not come."""
    begin, reading = time.monotonic(), None
    while time.monotonic() - begin < patience:
        reading = listener.reading()
        if reading is not None and reading.mode in modes and reading.age < 0.5:
            return time.monotonic() - begin, reading
        time.sleep(0.001)
    return float("nan"), reading


def _killed(commander: Commander, process: RobotProcess, listener: RobotClient) -> str:
    commander.signal(signal.SIGKILL)
    return ""


def _stopped(commander: Commander, process: RobotProcess, listener: RobotClient) -> str:
    commander.signal(signal.SIGSTOP)
    return ""


def _second(commander: Commander, process: RobotProcess, listener: RobotClient) -> str:
    """Ask for the lease while it is held; then let the first one go, so that damping follows."""
    granted, reason = listener.acquire()
    commander.signal(signal.SIGKILL)
    return "a second commander was let in" if granted or "commands this robot" not in reason else ""


def _asked_to_end(commander: Commander, process: RobotProcess, listener: RobotClient) -> str:
    os.kill(process.pid, signal.SIGTERM)
    return ""


def _frozen(commander: Commander, process: RobotProcess, listener: RobotClient) -> str:
    """Stop the robot process itself for a while, and its commander for good."""
    os.kill(process.pid, signal.SIGSTOP)
    commander.signal(signal.SIGKILL)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGCONT)
    return ""


def _disk_full(commander: Commander, process: RobotProcess, listener: RobotClient) -> str:
    """Let the recorder's file hit a wall: the recording ends, the robot goes on; then stop."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["-m", "runtime.recorder", f"endpoint={process.endpoint}", f"out={folder}/run.mcap"]
        recorder = subprocess.Popen(
            [sys.executable, *words], stderr=subprocess.PIPE, text=True, preexec_fn=_small_files
        )
        try:
            _, told = recorder.communicate(timeout=120.0)
        except subprocess.TimeoutExpired:
            recorder.kill()
            recorder.communicate()
            return "the recorder did not notice that its disk is full"
    reading = listener.wait(1.0)
    commander.signal(signal.SIGKILL)
    if reading.mode is not Mode.POLICY or reading.target_age > 0.2:
        return f"{reading.mode.name} after the recorder's disk was full"
    return "" if recorder.returncode and told else "the recorder did not say that its disk is full"


def _small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))


FAULTS: dict[str, Callable[[Commander, RobotProcess, RobotClient], str]] = {
    "policy process SIGKILL": _killed,
    "policy process SIGSTOP": _stopped,
    "second commander, first killed": _second,
    "recorder's disk full": _disk_full,
    "robot process SIGTERM": _asked_to_end,
    "robot process SIGSTOP 0.5 s": _frozen,
}


def run(name: str, policy: str) -> ProcessTrial:
    """Run one of FAULTS; the robot is damped within a second of it, as a listener sees it."""
    if name == "recorder's disk full" and not importlib.util.find_spec("mcap"):
        return ProcessTrial(name, "not run: no mcap", float("nan"), "")
    with RobotProcess("mujoco", *WORDS, "exit_damping=1") as process:
        listener = RobotClient(process.endpoint, "listener")
        commander = Commander(process.endpoint, policy)
        try:
            reached, reading = until(listener, {Mode.POLICY}, 60.0)
            if reading is None or reached != reached:
                return ProcessTrial(name, "-", float("nan"), "POLICY not reached")
            time.sleep(0.3)
            complaint = FAULTS[name](commander, process, listener)
            seconds, reading = until(listener, {Mode.DAMPING, Mode.ESTOP}, 5.0)
            mode = "-" if reading is None else reading.mode.name
            if not seconds <= LATE:
                complaint = complaint or f"damped after {seconds:.2f} s"
            return ProcessTrial(name, mode, seconds, complaint)
        finally:
            commander.end()
            listener.close()
