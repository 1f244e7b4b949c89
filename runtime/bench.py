"""How long a control tick takes, paced at the real rate: `python runtime/bench.py policy=...`.

Loops, one after the other: the plain one that most deployments are (torch.jit where torch is at
hand, else the engine's default settings; sleep after the work), ours without rehearsal, ours, and
ours against a robot process. A tight loop would understate all of them five- to twentyfold.
`busy=true` keeps every core busy meanwhile; `loops=wire seconds=600` holds the rate for ten
minutes. The row `machine` is an empty loop that ran beside the wire's: what it missed, nobody had.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime import metronome
from runtime.cli import parse_or_exit
from runtime.frames import SERVER_STAGES
from runtime.histogram import Quantiles, Stages
from runtime.link import LinkError, Reading, RobotClient
from runtime.loop import LOOP_STAGES, ControlLoop
from runtime.modes import Mode
from runtime.policy import Policy, PolicyError, SpecError, load_policy
from runtime.processes import RobotProcess
from runtime.realtime import REST, ask_for_realtime, relax
from runtime.state import Command, JointTargets, RobotState, state_from_generalized

LOOPS = ("plain", "cold", "ours", "wire")
PLAIN = Path(__file__).parents[1] / "tools" / "plain_loop.py"
SLACK = 0.2  # s before the loop's first tick


@dataclass(frozen=True)
class BenchConfig:
    """What to measure, and for how long."""

    policy: str = "models/h1/policy.onnx"  # an .onnx file; the default is the shipped one
    task: str = ""  # the policy's first, if empty
    engine: str = "ort"  # or another; see runtime/prepare.py --help
    seconds: float = 10.0  # per loop
    loops: str = ",".join(LOOPS)  # which of them
    wire: bool = True  # false: no robot process
    busy: bool = False  # a spinning process on every core meanwhile


@dataclass(frozen=True)
class Result:
    """What one loop did: quantiles of its stages in us, and the pace it kept."""

    name: str
    stages: dict[str, Quantiles]
    hz: float
    missed: int
    realtime: str
    cpu: float = float("nan")  # share of a core that the robot process took

    def json(self) -> dict[str, Any]:
        """Return the figures of the last line."""
        tick, late = self.stages.get("tick"), self.stages.get("late")
        report: dict[str, Any] = {}
        if tick is not None:
            report |= {f"tick_us_{k}": round(v, 1) for k, v in tick._asdict().items()}
        if late is not None:
            report |= {"late_us_p99": round(late.p99, 1), "late_us_max": round(late.max, 1)}
        report |= {"hz": round(self.hz, 3), "missed": self.missed, "realtime": self.realtime}
        return report if self.cpu != self.cpu else report | {"cpu": round(self.cpu, 3)}


class Still:
    """A wire that costs nothing: always the same fresh state, nobody to send to."""

    def __init__(self, state: RobotState) -> None:
        rest: dict[str, Any] = dict.fromkeys(Reading.__dataclass_fields__, 0)
        self._reading = Reading(**(rest | {"state": state, "mode": Mode.POLICY}))

    def reading(self) -> Reading | None:
        """Return the state, stamped now."""
        self._reading.state.stamp = time.monotonic()
        return self._reading

    def wait(self, timeout: float) -> Reading:
        """Return it at once."""
        return self._reading

    def send_targets(self, targets: JointTargets) -> None:
        """Do nothing."""


def run_loop(name: str, loop: ControlLoop, seconds: float) -> Result:
    """Run a control loop in a thread of its own, as ever, and return its books."""
    loop.start()
    time.sleep(SLACK)
    loop.reset_stats()
    time.sleep(seconds)
    stats, stages, realtime = loop.stats(), loop.quantiles(), str(loop.realtime)
    loop.stop()
    if loop.error:
        raise LinkError(f"the control loop ended: {loop.error}")
    return Result(name, stages, stats.hz, stats.deadline_misses, realtime)


def without_wire(name: str, policy: Policy, config: BenchConfig, *, rehearse: bool) -> Result:
    """Measure our loop alone: observe, infer, targets."""
    qpos = np.array([0, 0, 0.98, 1, 0, 0, 0, *policy.spec.default_pose])
    still = Still(state_from_generalized(qpos, np.zeros(25)))
    command = Command(config.task or policy.spec.tasks[0])
    loop = ControlLoop(policy, still, command, rehearse=rehearse)
    return run_loop(name, loop, config.seconds)


def with_robot(policy: Policy, config: BenchConfig) -> list[Result]:
    """Measure our loop and the robot process against each other, in POLICY."""
    command = Command(config.task or policy.spec.tasks[0])
    ask_for_realtime(REST)  # the wire's own thread inherits it
    with RobotProcess("mujoco", f"task={command.task}") as process:
        client = RobotClient(process.endpoint, "runtime/bench.py")
        try:
            client.wait(20.0)
            loop = ControlLoop(policy, client, command)
            granted, reason = client.acquire(policy.spec)
            if not granted:
                raise LinkError(reason)
            client.request_mode(Mode.POLICY)
            with metronome.beside(config.seconds + SLACK) as told:
                before, begin = cpu_seconds(process.pid), time.monotonic()
                result = run_loop("wire", loop, config.seconds)
                cpu = (cpu_seconds(process.pid) - before) / (time.monotonic() - begin)
                robot = robot_result(client.wait(1.0), config, cpu)
            late = {"late": told["late"]}
            machine = Result("machine", late, told["hz"], told["missed"], told["realtime"])
            return [result, robot, machine]
        finally:
            client.close()


def robot_result(reading: Reading, config: BenchConfig, cpu: float) -> Result:
    """Return the robot process's own books, as it publishes them, since its start."""
    stages = {
        name: Quantiles(*row.tolist())
        for name, row in zip(SERVER_STAGES, reading.stage_us, strict=True)
    }
    hz = 500.0 * reading.seq / max(1, reading.seq + reading.late_ticks)
    return Result("robot", stages, hz, reading.late_ticks, str(reading.realtime), cpu)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time a process has used, s; NaN where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def plain(policy: Policy, config: BenchConfig) -> Result:
    """Measure the plain loop: with torch.jit in a process of its own, or with the engine here."""
    has_torch = all(importlib.util.find_spec(name) for name in ("torch", "onnx"))
    if has_torch and PLAIN.is_file():
        command = [sys.executable, str(PLAIN), config.policy, str(config.seconds)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            told = json.loads(done.stdout.splitlines()[-1])
            tick = Quantiles(*(told[key] for key in Quantiles._fields))
            return Result("plain torch", {"tick": tick}, told["hz"], told["missed"], "nothing")
        print(f"no torch.jit loop: {done.stderr.strip()[-200:]}", file=sys.stderr)
    return plain_engine(config.policy, policy.spec.observation_size, config.seconds)


def plain_engine(path: str, size: int, seconds: float) -> Result:
    """Run the plain loop on a default session: lists, no guard and no wire, sleep after work."""
    import onnxruntime

    session, stages = onnxruntime.InferenceSession(path), Stages("tick")
    row, ticks, begin = np.zeros(45), 0, time.perf_counter()
    past: list[list[float]] = []
    while (woke := time.perf_counter()) - begin < seconds:
        past.append([*row])
        flat = [number for frame in past[-8:] for number in frame]
        observation = np.array([(flat + [0.0] * size)[:size]], np.float32)
        session.run(None, {"observation": observation})
        stages.histograms["tick"].add(time.perf_counter() - woke)
        ticks += 1
        time.sleep(0.02)
    took = time.perf_counter() - begin
    missed = max(0, int(took / 0.02) - ticks)
    return Result("plain engine", stages.quantiles(), ticks / took, missed, "nothing")


@contextlib.contextmanager
def busy_cores(wanted: bool) -> Iterator[None]:
    """Keep every core busy while the block runs."""
    code = f"import os\nwhile os.getppid() == {os.getpid()}: pass"
    count = (os.cpu_count() or 1) if wanted else 0
    spinning = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(count)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def table(results: list[Result]) -> str:
    """Return what was measured, one block per loop."""
    lines = [f"{'us':<14}{'stage':<9}" + "".join(f"{p:>9}" for p in Quantiles._fields)]
    for result in results:
        for stage in dict.fromkeys((*LOOP_STAGES[:-2], *SERVER_STAGES[1:-2], "tick", "late")):
            if stage in result.stages:
                cells = "".join(f"{value:9.0f}" for value in result.stages[stage])
                lines.append(f"{result.name:<14}{stage:<9}{cells}")
        cpu = "" if result.cpu != result.cpu else f", {result.cpu:.1%} of a core"
        pace = f"{result.hz:.2f} Hz, {result.missed} ticks missed{cpu}, got {result.realtime}"
        lines.append(f"{result.name:<14}{pace}\n")
    return "\n".join(lines)


def measure(config: BenchConfig, policy: Policy) -> list[Result]:
    """Run the loops one after the other."""
    wanted = config.loops.split(",")
    unknown = sorted(set(wanted) - set(LOOPS))
    if unknown:
        raise LinkError(f"loops={config.loops}: {unknown} unknown; there are {list(LOOPS)}")
    results: list[Result] = []
    with busy_cores(config.busy):
        if "plain" in wanted:
            relax()
            results.append(plain(policy, config))
        if "cold" in wanted:
            results.append(without_wire("cold", policy, config, rehearse=False))
        if "ours" in wanted:
            results.append(without_wire("ours", policy, config, rehearse=True))
        if "wire" in wanted and config.wire:
            results += with_robot(policy, config)
    return results


def main() -> None:
    """Measure, print the table and one line of JSON."""
    config = parse_or_exit(BenchConfig(), sys.argv[1:], "runtime/bench.py", __doc__ or "")
    try:
        results = measure(config, load_policy(config.policy, engine=config.engine))
    except (PolicyError, SpecError, LinkError) as error:
        sys.exit(f"runtime/bench.py: {error}")
    print(table(results))
    report: dict[str, object] = {"policy": config.policy, "engine": config.engine}
    report |= {"seconds": config.seconds, "busy": config.busy, "load": os.getloadavg()[0]}
    report |= {result.name: result.json() for result in results}
    p50 = {r.name.split()[0]: r.stages["tick"].p50 for r in results if "tick" in r.stages}
    report |= {
        f"{name}_to_plain": round(p50[name] / p50["plain"], 3)
        for name in ("cold", "ours", "wire")
        if {"plain", name} <= set(p50)
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
