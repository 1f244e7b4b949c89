"""One run of a policy on a robot: start the processes, watch them, report. No ROS.

The exit code is 0 only if the control line really ran: the robot was in POLICY, targets flowed at
the control rate, and both ends closed properly. If only the rate was not held, it is 3.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from runtime import companions
from runtime.cli import ConfigError
from runtime.command_link import CommandServer
from runtime.desk import RunDesk
from runtime.link import LinkError, Reading, RobotClient
from runtime.listen import VIEWS, view_module
from runtime.loop import ControlLoop, LoopStats
from runtime.modes import Mode
from runtime.policy import Policy, PolicyError, load_policy
from runtime.processes import RobotProcess
from runtime.realtime import REST, ask_for_realtime
from runtime.spec import SpecError
from runtime.spoken import task_of
from runtime.state import Command
from runtime.tick_link import SentHistory, TickFeed

START_TIMEOUT = 20.0  # s for each step of the start
STATUS_PERIOD = 0.5  # s
ENOUGH = 0.8  # of the control rate, to call it held
TOO_SLOW = 3  # the exit code when it was not, and nothing else is wrong


@dataclass(frozen=True)
class RunConfig:
    """What `runtime/run.py` can be told; `server` takes words for the robot process, by commas."""

    policy: str = "models/h1/policy.onnx"  # an .onnx file; the default is the shipped one
    task: str = "stand"  # one of the policy's tasks, or words for it: "walk straight ahead"
    phrases: str = "spelling"  # how those words are understood, or meaning: an encoder's weights
    robot: str = "mujoco"  # or unitree
    duration: float = 20.0  # s in POLICY
    heading: float = 0.0  # rad
    engine: str = "ort"  # or another; see runtime/prepare.py --help
    video: str = ""  # write a film to this .mp4
    record: str = ""  # write a recording to this .mcap, for replay, compare and Foxglove
    view: str = ""  # mujoco: its window; browser: a page (runtime.live)
    server: str = ""  # e.g. guard.rate_limit=20,modes.auto_reset=false
    endpoint: str = ""  # of the robot process; empty: a new ipc:// one
    status: bool = True  # the live line


class SignalError(Exception):
    """A signal asked for the end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def run(config: RunConfig) -> int:
    """Run and print the JSON line; return 0 ran, 1 did not, 2 bad input, 3 too slow, 128 + n."""
    try:
        with _signals():
            view_module(config.view)
            policy = _load(config)
            task = task_of(config.task, policy.spec, config.phrases)
            return _with_robot(dataclasses.replace(config, task=task), policy)
    except (PolicyError, SpecError, ConfigError) as error:
        print(f"cannot run: {error}", file=sys.stderr)
        return 2
    except LinkError as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 1
    except SignalError as stop:
        print(f"stopped by {stop}", file=sys.stderr)
        return 128 + stop.number


def _load(config: RunConfig) -> Policy:
    policy = load_policy(config.policy, engine=config.engine)
    if config.robot != "mujoco" and policy.spec.sim_only:
        raise SpecError(f"the policy needs {list(policy.spec.sim_only)}: no robot measures that")
    return policy


def _with_robot(config: RunConfig, policy: Policy) -> int:
    """Start the processes around one drive, and end them whatever happens in it."""
    words = [f"task={config.task}", *filter(None, config.server.split(","))]
    ask_for_realtime(REST)
    beside: list[subprocess.Popen[bytes]] = []
    with contextlib.ExitStack() as stack:
        stack.callback(companions.end, beside)  # last: the film is drawn when the robot is safe
        process = stack.enter_context(RobotProcess(config.robot, *words, endpoint=config.endpoint))
        client = RobotClient(process.endpoint, "runtime/run.py")
        stack.callback(client.close)
        beside += companions.start(
            process.endpoint,
            video=config.video,
            view=config.view,
            recorder=_recorder(config),
        )
        stack.callback(client.request_mode, Mode.DAMPING)
        loop = ControlLoop(policy, client, Command(config.task, config.heading))
        if config.record:
            feed = TickFeed(process.endpoint)
            stack.callback(feed.close)
            loop.history = SentHistory(feed)
        stack.callback(loop.stop)
        wishes = CommandServer(process.endpoint)
        stack.callback(wishes.close)
        desk = RunDesk(loop, policy.spec, client, persist=config.robot == "mujoco")
        desk.attended = VIEWS["browser"] == view_module(config.view)
        return _drive(config, process, desk, wishes)


def _recorder(config: RunConfig) -> tuple[str, ...]:
    """Return the recorder's words, if there is to be a recording."""
    if not config.record:
        return ()
    about = (f"policy={config.policy}", f"robot={config.robot}", f"server={config.server}")
    return f"out={config.record}", *about


def _drive(config: RunConfig, process: RobotProcess, desk: RunDesk, wishes: CommandServer) -> int:
    """Bring the robot into POLICY, stay there for the duration, report."""
    client, loop = desk.client, desk.loop
    _first_reading(process, client)
    _must("lease", client.acquire(loop.ticker.policy.spec))
    loop.start()
    base = _enter(config, process, client, loop)
    loop.reset_stats()
    interrupted: SignalError | None = None
    begin = time.monotonic()
    before, in_policy, next_status = begin, 0.0, begin
    try:
        while (now := time.monotonic()) - begin < config.duration:
            wishes.serve(desk)
            reading = _check(process, client, loop, attended=desk.attended)
            in_policy += (now - before) * (reading.mode is Mode.POLICY)
            before = now
            if desk.persist and reading.goal is Mode.DAMPING:
                client.request_mode(Mode.POLICY)  # the guard let go: start again, in simulation
            if config.status and now >= next_status:
                _show_status(reading, loop.stats(), now - begin)
                next_status = now + STATUS_PERIOD
            time.sleep(min(0.02, config.duration))
    except SignalError as stop:
        interrupted = stop
    report = summary(config, loop.stats(), base, client.reading() or base)
    _clear_status(config)
    print(json.dumps(report), flush=True)
    if interrupted is not None:
        raise interrupted
    last = client.reading() or base
    if not in_policy or loop.error:
        return 1
    return verdict(report["control_hz"], 1.0 / loop.period, last.target_age)


def verdict(hz: float, wanted: float, target_age: float) -> int:
    """Return the exit code of a run that was in POLICY: rates in Hz, its last targets' age in s."""
    if hz < ENOUGH * wanted:
        said = f"{hz:.1f} decisions a second, expected {wanted:.0f}"
        print(f"too slow a machine, or too busy: {said}", file=sys.stderr)
        return TOO_SLOW
    return 0 if target_age < 0.2 else 1


def summary(config: RunConfig, stats: LoopStats, base: Reading, last: Reading) -> dict[str, Any]:
    """Return the last line's figures, counted since POLICY was entered."""
    total = last.reward_sum - base.reward_sum
    return {
        "task": config.task,
        "seconds": round(stats.seconds, 3),
        "falls": last.falls - base.falls,
        "return": None if math.isnan(total) else round(total, 2),
        "control_hz": round(stats.hz, 3),
        "deadline_misses": stats.deadline_misses,
        "tick_us_p50": round(stats.tick_us_p50, 1),
        "tick_us_p99": round(stats.tick_us_p99, 1),
        "policy": config.policy,
        "transport": "zmq",
    }


def _first_reading(process: RobotProcess, client: RobotClient) -> Reading:
    """Wait for the robot process to speak; say why it ended if it did."""
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        with contextlib.suppress(LinkError):
            return client.wait(0.2)
        if not process.alive():
            raise LinkError(process.complaint() or "the robot process ended at once")
    raise LinkError(f"the robot process said nothing within {START_TIMEOUT:g} s")


def _enter(
    config: RunConfig, process: RobotProcess, client: RobotClient, loop: ControlLoop
) -> Reading:
    """Ask for POLICY and wait for it; a real robot takes every step only after Enter."""
    if config.robot == "mujoco":
        _must("POLICY", client.request_mode(Mode.POLICY))
    else:
        for mode in (Mode.DAMPING, Mode.RAMP, Mode.POLICY):
            input(f"[Enter] for {mode.name}, Ctrl-C for damping ")
            _must(mode.name, client.request_mode(mode))
            if mode is Mode.RAMP:
                _until(Mode.HOLD, process, client, loop)
    return _until(Mode.POLICY, process, client, loop)


def _until(mode: Mode, process: RobotProcess, client: RobotClient, loop: ControlLoop) -> Reading:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        reading = _check(process, client, loop)
        if reading.mode is mode:
            return reading
        time.sleep(0.002)
    raise LinkError(f"{mode.name} not reached: {reading.mode.name} ({reading.reason})")


def _check(
    process: RobotProcess, client: RobotClient, loop: ControlLoop, *, attended: bool = False
) -> Reading:
    """Return the newest reading; raise LinkError if either end is gone, or nobody can reset it."""
    reading = client.reading()
    if not process.alive():
        raise LinkError(f"the robot process ended: {process.complaint()}")
    if loop.error:
        raise LinkError(f"the control loop ended: {loop.error}")
    if reading is None or reading.age > START_TIMEOUT:
        raise LinkError("the robot process is silent")
    if reading.mode is Mode.ESTOP and not attended:
        raise LinkError(f"ESTOP: {reading.reason}, {reading.fault}")
    return reading


def _must(what: str, answer: tuple[bool, str]) -> None:
    if not answer[0]:
        raise LinkError(f"{what} refused: {answer[1]}")


def status_line(reading: Reading, stats: LoopStats, seconds: float) -> str:
    """Return one line about now: mode, task, height, speed, rate, latency."""
    speed = math.hypot(*reading.state.base_linear_velocity[:2])
    return (
        f"{seconds:6.1f} s  {reading.mode.name:<11} {reading.task:<6} "
        f"height {reading.state.base_position[2]:5.2f} m  speed {speed:5.2f} m/s  "
        f"{stats.hz:5.1f} Hz  tick {stats.tick_us_p50:4.0f}/{stats.tick_us_p99:5.0f} us  "
        f"missed {stats.deadline_misses}  falls {reading.falls}  reward {reading.reward:5.3f}"
    )


def _show_status(reading: Reading, stats: LoopStats, seconds: float) -> None:
    line = status_line(reading, stats, seconds)
    if sys.stdout.isatty():
        print(f"\r\x1b[K{line}", end="", flush=True)
    else:
        print(line, flush=True)


def _clear_status(config: RunConfig) -> None:
    if config.status and sys.stdout.isatty():
        print()


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into SignalError; later ones wait for the clean end."""
    numbers = (signal.SIGINT, signal.SIGTERM)

    def handler(number: int, frame: object) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise SignalError(number)

    before = [signal.signal(number, handler) for number in numbers]
    try:
        yield
    finally:
        for number, old in zip(numbers, before, strict=True):
            signal.signal(number, old)
