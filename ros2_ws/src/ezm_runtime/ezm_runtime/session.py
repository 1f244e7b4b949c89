"""One run of the control line: start the two processes, watch them over ROS, sum up what was seen.

What `ros2 launch ezm_runtime h1_sim.launch.py` starts, where only the rclpy wheels are installed.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rclpy
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import get_default_context

from ezm_runtime.describe import (
    ROBOT_DOMAIN,
    ROBOTS,
    VIEW,
    Line,
    Options,
    describe,
    free_domain,
    loopback_environment,
    option,
)
from ezm_runtime.watch import ACTIVATE, CONFIGURE, Watch
from runtime.cli import ConfigError, parse_or_exit
from runtime.h1 import CONTROL_DT
from runtime.policy import PolicyError, SpecError, load_policy
from runtime.session import TOO_SLOW
from runtime.spoken import task_of

ENOUGH = 0.7  # of the nominal rate, measured over ROS, to call it held
ESSENTIAL = ("robot process", "policy node")
FILM_PATIENCE = 600.0  # s to draw the film after the run
STARTUP = 30.0  # s for each stage on the way to POLICY


@dataclass(frozen=True)
class BringupOptions(Options):
    """The launch arguments, and how long."""

    robot: str = option("mujoco", "mujoco | unitree")
    duration: float = option(20.0, "s in POLICY, then everything is stopped")


class BringupError(RuntimeError):
    """The line could not be brought up, or broke."""


class Session:
    """One run of the line."""

    def __init__(
        self, options: BringupOptions, line: Line, folder: Path, signals: list[int]
    ) -> None:
        self.options, self.line, self.folder = options, line, folder
        self.signals = signals  # received so far; the first one ends the run
        self.children: dict[str, subprocess.Popen] = {}
        self.watch: Watch | None = None
        self.ended = 0.0  # monotonic s
        self.slow = False  # it ran, and nothing is wrong but its rate

    def run(self) -> dict[str, Any]:
        """Start, watch, stop; return the summary."""
        error = ""
        try:
            self._start("robot process", self.line.robot_argv)
            for name, argv in self.line.listeners.items():
                self._start(name, argv)
            self._start("policy node", self.line.node_argv)
            rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
            self.watch = Watch("ezm_bringup")
            self._bring_up(self.watch)
            self._follow(self.watch)
        except BringupError as failure:
            error = str(failure)
        finally:
            self._stop()
        return self._summary(error)

    # stages

    def _start(self, name: str, argv: tuple[str, ...]) -> None:
        if self.signals:
            raise BringupError("interrupted")
        log = (self.folder / f"{name.replace(' ', '_')}.log").open("wb")
        # a session of its own: Ctrl-C reaches bringup alone, which then stops things in order
        self.children[name] = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        log.close()

    def _bring_up(self, watch: Watch) -> None:
        for transition, name in ((CONFIGURE, "configure"), (ACTIVATE, "activate")):
            self._say(f"{name} the policy node …")
            if not watch.change(transition, STARTUP, self._broken):
                raise BringupError(self._why(f"the policy node did not {name}"))
        if not self.line.autostart:
            self._say("active; waiting for ~/hold and ~/start")
            return
        watch.spin(lambda: watch.policy_since is not None or self._broken(), STARTUP)
        if watch.policy_since is None:
            raise BringupError(self._why(f"POLICY was not reached; the robot is in {watch.mode}"))

    def _follow(self, watch: Watch) -> None:
        """Show what is going on until POLICY has lasted for the duration, or a signal comes."""
        left, told = math.inf, VIEW not in self.children
        while not self.signals and left > 0.0:
            watch.spin(self._broken, min(0.5, left))
            if not self.signals and self._broken():
                raise BringupError(self._why("the line broke"))
            since = watch.policy_since
            seconds = 0.0 if since is None else time.monotonic() - since
            left = math.inf if since is None else self.options.duration - seconds
            told = told or self._tell_address()
            self._say(status_line(watch, seconds))

    def _stop(self) -> None:
        """End the node first (it gives the robot back), then the robot process; spare nobody."""
        self.ended = time.monotonic()
        for name, patience in (("policy node", 8.0), ("robot process", 8.0), (VIEW, 8.0)):
            self._end(name, patience)
        self._end("recorder", 20.0)
        if "film" in self.children:
            self._say("drawing the film …")
            self._end("film", FILM_PATIENCE)
        if self.watch is not None:
            self.watch.close()
            get_default_context().try_shutdown()

    def _end(self, name: str, patience: float) -> None:
        child = self.children.get(name)
        if child is None or child.poll() is not None:
            return
        child.send_signal(signal.SIGINT)
        try:
            child.wait(patience)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    # what was seen

    def _summary(self, error: str) -> dict[str, Any]:
        watch = self.watch
        record = watch.record if watch is not None else {}
        began = watch.policy_since if watch is not None else None
        flows = (watch.joints.hz, watch.targets.hz) if watch is not None else (0.0, 0.0)
        if not error and began is None:
            error = "interrupted before POLICY" if self.signals else "POLICY was not reached"
        if not error and min(flows) < ENOUGH / CONTROL_DT:
            self.slow = min(flows) > 0.0
            error = (
                f"over ROS came {flows[0]:.1f} joint states and {flows[1]:.1f} targets a second, "
                f"expected {1.0 / CONTROL_DT:.0f}"
            )
        film = self.children.get("film")
        if not error and film is not None and film.returncode != 0:
            error, self.slow = "no film\n" + tail(self.folder / "film.log"), False
        seconds = self.ended - began if began is not None else 0.0
        summary = {
            "task": record.get("task", self.options.task),
            "seconds": round(seconds, 2),
            "falls": record.get("falls"),
            "return": _rounded(record.get("return"), 2),
            "control_hz": round(flows[1], 2),
            "deadline_misses": record.get("deadline_misses"),
            "tick_us_p50": _rounded(record.get("tick_us_p50"), 1),
            "tick_us_p99": _rounded(record.get("tick_us_p99"), 1),
            "policy": self.options.policy,
            "transport": "ros2",
        }
        return {**summary, "error": error} if error else summary

    # small things

    def _broken(self) -> bool:
        return bool(self.signals or self._dead())

    def _dead(self) -> dict[str, int]:
        """Return the exit codes of those who should still be there; a window may be closed."""
        codes = {name: child.poll() for name, child in self.children.items()}
        return {
            name: code
            for name, code in codes.items()
            if code is not None and (name in ESSENTIAL or (code != 0 and name != "recorder"))
        }

    def _why(self, what: str) -> str:
        if self.signals:
            return "interrupted"
        what += "".join(
            f"; the {name} ended with code {code}" for name, code in self._dead().items()
        )
        tails = [tail(path) for path in sorted(self.folder.glob("*.log"))]
        return "\n".join([what, *filter(None, tails)])

    def _tell_address(self) -> bool:
        """Pass on what the live view says about itself; True once it has, or never will."""
        text = (self.folder / f"{VIEW}.log").read_text(errors="replace")
        lines = [line for line in text.splitlines() if line.startswith("live view: ")]
        if lines:
            self._say(lines[0])
            print(flush=True)
        return bool(lines) or "viewer" in " ".join(self.line.listeners[VIEW])

    def _say(self, text: str) -> None:
        if sys.stdout.isatty():
            sys.stdout.write(f"\r\x1b[K{text}")
        else:
            sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def status_line(watch: Watch, seconds: float) -> str:
    """Return mode, task, height, speed, rate and latency as last reported over ROS."""
    record = watch.record
    return (
        f"{seconds:6.1f} s  {watch.mode:<8} {record.get('task', '-'):<6}"
        f" height {_number(record.get('height'), '.2f')} m"
        f"  speed {_number(record.get('speed'), '.2f')} m/s"
        f"  {_number(record.get('hz'), '.1f')} Hz"
        f"  tick {_number(record.get('tick_us_p50'), '.0f')}"
        f"/{_number(record.get('tick_us_p99'), '.0f')} us"
        f"  falls {record.get('falls', '-')}"
        f"  return {_number(record.get('return'), '.1f')}"
    )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def tail(path: Path, lines: int = 8) -> str:
    """Return the end of a log, under its name; nothing if it is empty."""
    text = path.read_text(errors="replace").strip().splitlines()[-lines:]
    return "\n".join([f"--- {path.stem}", *text]) if text else ""


def check(options: BringupOptions) -> BringupOptions:
    """Refuse at once what the node would refuse later; return the options with the task's name."""
    try:
        if options.robot not in ROBOTS:
            raise ConfigError(f"robot '{options.robot}' unknown; there are {list(ROBOTS)}")
        spec = load_policy(options.policy).spec
        task = task_of(options.task, spec, options.phrases)
    except (ConfigError, PolicyError, SpecError) as error:
        print(f"bringup: {error}", file=sys.stderr)
        sys.exit(2)
    return dataclasses.replace(options, task=task)


def run(words: list[str], signals: list[int]) -> int:
    """Run the line for `duration` seconds in POLICY; return the exit code.

    The last line on stdout is JSON; the code is 0 only if the control line really ran, 3 if only
    its rate was not held.
    """
    options = parse_or_exit(BringupOptions(), words, "bringup", __doc__ or "")
    options = check(options)
    os.environ.update(loopback_environment())
    first = 0 if options.robot == "mujoco" else ROBOT_DOMAIN + 1
    os.environ.setdefault("ROS_DOMAIN_ID", str(free_domain(range(first, 100))))
    folder = Path(tempfile.mkdtemp(prefix="ezm-"))
    try:
        line = describe(options.robot, options, folder=folder, parent=os.getpid())
    except ValueError as error:
        folder.rmdir()
        print(f"bringup: {error}", file=sys.stderr)
        return 2
    print(f"ROS_DOMAIN_ID={os.environ['ROS_DOMAIN_ID']}  logs in {folder}", flush=True)
    session = Session(options, line, folder, signals)
    summary = session.run()
    if sys.stdout.isatty():
        print()
    if "error" in summary:
        print(f"bringup: {summary['error']}", file=sys.stderr)
        summary["error"] = summary["error"].splitlines()[0]
    else:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(summary), flush=True)
    return TOO_SLOW if session.slow else int("error" in summary)
