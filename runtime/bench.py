"""How long a control tick takes, paced at the real rate: `python runtime/bench.py policy=...`.

Three loops, one after the other: the plain one that most deployments are (default engine settings,
observation glued together anew, sleep after work), ours without the wire, and ours against a robot
process. A tight loop would understate all of them five- to twentyfold.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from runtime.cli import parse_or_exit
from runtime.link import LinkError, RobotClient
from runtime.modes import Mode
from runtime.observation import Memory, observe, remember
from runtime.policy import Policy, PolicyError, SpecError, load_policy
from runtime.processes import RobotProcess
from runtime.realtime import CONTROL, ask_for_realtime
from runtime.spec import PolicySpec
from runtime.state import Command, JointTargets, RobotState, state_from_generalized

STAGES = ("state", "observe", "infer", "send", "tick", "late")


@dataclass(frozen=True)
class BenchConfig:
    """What to measure, and for how long."""

    policy: str = "models/h1/policy.onnx"
    task: str = ""  # the policy's first, if empty
    engine: str = "ort"
    seconds: float = 10.0  # per loop
    wire: bool = True  # also against a robot process


class Books:
    """Stage durations of every tick, and the pace kept."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rows: list[tuple[float, ...]] = []  # s, in the order of STAGES
        self.misses = 0
        self.hz = 0.0

    def percentiles(self, stage: str) -> tuple[float, float, float, float]:
        """Return (p50, p95, p99, max) of a stage, us."""
        column = np.array([row[STAGES.index(stage)] for row in self.rows]) * 1e6
        p50, p95, p99, most = (float(v) for v in np.percentile(column, [50, 95, 99, 100]))
        return p50, p95, p99, most


def paced(name: str, tick: Callable[[], tuple[float, ...]], period: float, seconds: float) -> Books:
    """Call `tick` on absolute deadlines; late periods are skipped and counted."""
    books = Books(name)
    begin = deadline = time.perf_counter() + period
    while deadline - begin < seconds:
        pause = deadline - time.perf_counter()
        if pause > 0.0:
            time.sleep(pause)
        woke = time.perf_counter()
        stages = tick()
        now = time.perf_counter()
        books.rows.append((*stages, now - woke, woke - deadline))
        missed = max(0, int((now - deadline) / period))
        books.misses += missed
        deadline += (1 + missed) * period
    books.hz = len(books.rows) / (deadline - begin)
    return books


def our_tick(
    policy: Policy,
    command: Command,
    read: Callable[[], RobotState],
    send: Callable[[JointTargets], None],
) -> Callable[[], tuple[float, ...]]:
    """Return our tick, with the time of each stage."""
    spec, memory = policy.spec, Memory.create(policy.spec)
    stiffness, damping = np.asarray(spec.stiffness), np.asarray(spec.damping)

    def tick() -> tuple[float, ...]:
        t0 = time.perf_counter()
        state = read()
        t1 = time.perf_counter()
        observation = observe(state, command, spec, memory)
        t2 = time.perf_counter()
        action = policy.infer(observation)
        t3 = time.perf_counter()
        remember(memory, action)
        send(JointTargets(0, t3, spec.target(action), stiffness, damping))
        return t1 - t0, t2 - t1, t3 - t2, time.perf_counter() - t3

    return tick


def plain_tick(
    path: str, spec: PolicySpec, read: Callable[[], RobotState]
) -> Callable[[], tuple[float, ...]]:
    """Return the tick of a plain script: default session, lists, no guard and no wire."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    past: list[list[float]] = []

    def tick() -> tuple[float, ...]:
        t0 = time.perf_counter()
        state = read()
        t1 = time.perf_counter()
        past.append([*state.angular_velocity, *state.joint_position, *state.joint_velocity])
        row = [number for frame in past[-8:] for number in frame]
        row = (row + [0.0] * spec.observation_size)[: spec.observation_size]
        observation = np.array([row], np.float32)
        t2 = time.perf_counter()
        session.run(None, {"observation": observation})
        return t1 - t0, t2 - t1, time.perf_counter() - t2, 0.0

    return tick


def sleeping(
    name: str, tick: Callable[[], tuple[float, ...]], period: float, seconds: float
) -> Books:
    """Call `tick`, then sleep a whole period: the rate drifts with the work."""
    books, begin = Books(name), time.perf_counter()
    while (woke := time.perf_counter()) - begin < seconds:
        stages = tick()
        books.rows.append((*stages, time.perf_counter() - woke, 0.0))
        time.sleep(period)
    books.hz = len(books.rows) / (time.perf_counter() - begin)
    books.misses = max(0, int(seconds / period) - len(books.rows))
    return books


def with_robot(policy: Policy, command: Command, seconds: float) -> Books:
    """Measure our loop against a robot process in POLICY mode."""
    with RobotProcess("mujoco", f"task={command.task}") as process:
        client = RobotClient(process.endpoint, "runtime/bench.py")
        try:
            client.wait(20.0)
            for granted, reason in (client.acquire(), client.request_mode(Mode.POLICY)):
                if not granted:
                    raise LinkError(reason)
            tick = our_tick(policy, command, lambda: _state(client), client.send_targets)
            paced("warm-up", tick, policy.spec.control_dt, 1.0)
            return paced("ours + wire", tick, policy.spec.control_dt, seconds)
        finally:
            client.close()


def _state(client: RobotClient) -> RobotState:
    state = client.state()
    if state is None:
        raise LinkError("the robot process is silent")
    return state


def table(books: list[Books]) -> str:
    """Return what was measured, one block per loop."""
    lines = [f"{'us':<14}{'stage':<9}" + "".join(f"{p:>9}" for p in ("p50", "p95", "p99", "max"))]
    for book in books:
        for stage in STAGES:
            cells = "".join(f"{value:9.0f}" for value in book.percentiles(stage))
            lines.append(f"{book.name:<14}{stage:<9}{cells}")
        lines.append(f"{book.name:<14}{book.hz:.2f} Hz, {book.misses} ticks missed\n")
    return "\n".join(lines)


def measure(config: BenchConfig, policy: Policy) -> list[Books]:
    """Run the loops one after the other."""
    command = Command(config.task or policy.spec.tasks[0])
    dt = policy.spec.control_dt
    qpos = np.array([0, 0, 0.98, 1, 0, 0, 0, *policy.spec.default_pose])
    still = state_from_generalized(qpos, np.zeros(25))
    plain = plain_tick(config.policy, policy.spec, lambda: still)
    books = [sleeping("plain", plain, dt, config.seconds)]  # first: ours asks for SCHED_FIFO
    ask_for_realtime(CONTROL)
    tick = our_tick(policy, command, lambda: still, lambda targets: None)
    books.append(paced("ours", tick, dt, config.seconds))
    if config.wire:
        books.append(with_robot(policy, command, config.seconds))
    return books


def main() -> None:
    """Measure, print the table and one line of JSON."""
    config = parse_or_exit(BenchConfig(), sys.argv[1:], "runtime/bench.py", __doc__ or "")
    try:
        books = measure(config, load_policy(config.policy, engine=config.engine))
    except (PolicyError, SpecError, LinkError) as error:
        sys.exit(f"runtime/bench.py: {error}")
    print(table(books))
    report: dict[str, object] = {"policy": config.policy, "engine": config.engine}
    for book in books:
        p50, _, p99, most = book.percentiles("tick")
        report[book.name] = {
            "tick_us_p50": round(p50, 1),
            "tick_us_p99": round(p99, 1),
            "tick_us_max": round(most, 1),
            "late_us_p99": round(book.percentiles("late")[2], 1),
            "hz": round(book.hz, 3),
            "missed": book.misses,
        }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
