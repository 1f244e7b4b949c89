"""The whole line against Unitree's own simulator: policy, wire, robot process, DDS, unitree_mujoco.

    python tools/try_unitree_mujoco.py simulator=<unitree_mujoco> sdk=<unitree_sdk2_python>
    python tools/try_unitree_mujoco.py --help

Starts `tools/unitree_mujoco_headless.py` and a robot process with a real robot's limits, walks
through DAMPING, RAMP and HOLD with the robot hanging, lets it down on its feet, enters POLICY, lets
the band go, and watches. Ends with one line of JSON; exit code 0 only if it was still in POLICY and
on its feet at the end.
"""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime import companions
from runtime.cli import parse_or_exit
from runtime.link import LinkError, RobotClient
from runtime.loop import ControlLoop
from runtime.modes import Mode
from runtime.monitors import MONITORS
from runtime.policy import load_policy
from runtime.processes import RobotProcess
from runtime.state import Command

FALLEN = 0.5  # m, of the pelvis
SIMULATOR = Path(__file__).with_name("unitree_mujoco_headless.py")


@dataclass(frozen=True)
class TryConfig:
    """Which checkouts, what is put in, what is done."""

    simulator: str = ""  # checkout of unitree_mujoco
    sdk: str = ""  # checkout of unitree_sdk2_python
    mend: str = "crc,drives"  # see unitree_mujoco_headless.py --help
    dt: float = 0.005  # s, of the simulator's steps and states
    domain: int = 1  # DDS domain, on loopback
    yaw: float = 0.0  # rad, where the robot faces at the start
    policy: str = "models/h1/policy.onnx"  # an .onnx file
    task: str = "walk"  # one of the policy's
    seconds: float = 20.0  # in POLICY without the band
    stand: float = 0.6  # m, length of the band when the robot stands in HOLD
    let_go: float = 1.0  # s in POLICY until the band lets go
    server: str = ""  # words for the robot process, by commas
    record: str = ""  # write a recording to this .mcap


class Simulator:
    """Their simulator as a child process, and what it last said."""

    def __init__(self, config: TryConfig) -> None:
        names = ("mend", "dt", "domain", "yaw")
        words = [f"{name}={getattr(config, name)}" for name in names]
        words += [f"{n}={Path(getattr(config, n)).resolve()}" for n in ("simulator", "sdk")]
        self._process = subprocess.Popen(
            [sys.executable, str(SIMULATOR), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.said: list[dict[str, Any]] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def alive(self) -> bool:
        """Return True while it runs."""
        return self._process.poll() is None

    def tell(self, line: str) -> None:
        """Say a line on its stdin."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def stop(self) -> None:
        """Let it end."""
        self.tell("quit")
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                self.said.append(json.loads(line))
            else:
                print("unitree_mujoco:", line.rstrip(), flush=True)


class Attempt:
    """Everything between a policy and their simulator, and what came of it."""

    def __init__(self, config: TryConfig, stack: contextlib.ExitStack) -> None:
        self.config = config
        self.found: dict[str, Any] = {"reached": "nothing"}
        policy = load_policy(config.policy)
        self.simulator = Simulator(config)
        stack.callback(self.simulator.stop)
        self._wait(lambda: bool(self.simulator.said), 30.0, "the simulator says nothing")
        time.sleep(2.0)
        words = ["interface=lo", f"domain={config.domain}", "motion=ignore"]
        self.process = RobotProcess("unitree", *words, *filter(None, config.server.split(",")))
        stack.callback(lambda: print(self.process.complaint(), file=sys.stderr))
        stack.callback(self.process.stop)
        self.client = RobotClient(self.process.endpoint, "try_unitree_mujoco")
        stack.callback(self.client.close)
        recorder = (f"out={config.record}",) if config.record else ()
        beside = companions.start(self.process.endpoint, recorder=recorder)
        stack.callback(companions.end, beside)
        self.loop = ControlLoop(policy, self.client, Command(config.task))
        stack.callback(self.loop.stop)

    def run(self) -> None:
        """DAMPING, RAMP, HOLD, down on its feet, POLICY, and without the band until it ends."""
        try:
            self._until(Mode.ZERO_TORQUE, 20.0)
            self._must(self.client.acquire(self.loop.ticker.policy.spec))
            self.loop.start()
            self._ask(Mode.DAMPING, Mode.DAMPING, 2.0)
            time.sleep(1.0)
            self._ask(Mode.RAMP, Mode.HOLD, 10.0)
            for length in range(-7, round(10 * self.config.stand) + 1):  # as with their key 8
                self.simulator.tell(f"band {0.1 * length:.1f}")
                time.sleep(0.3)
            time.sleep(1.0)
            self._ask(Mode.POLICY, Mode.POLICY, 5.0)
            time.sleep(self.config.let_go)
            self._watch()
        except (LinkError, TimeoutError) as error:
            self.found["stopped"] = str(error)
        self._account()

    def _watch(self) -> None:
        said, found = self.simulator.said, self.found
        self.loop.reset_stats()
        self.simulator.tell("go")
        self._wait(lambda: not said[-1]["band"], 5.0, "the band does not let go")
        start, fastest = said[-1], 0.0
        cos, sin = math.cos(start["yaw"]), math.sin(start["yaw"])
        while True:
            now, reading = said[-1], self.client.reading()
            since = {key: now[key] - start[key] for key in ("real", "simulated", "x", "y")}
            fastest = max(fastest, now["speed"])
            found["seconds"] = round(since["real"], 2)
            found["simulated"] = round(since["simulated"], 2)
            found["ahead"] = round(cos * since["x"] + sin * since["y"], 2)  # m
            found["turned"] = round(math.remainder(now["yaw"] - start["yaw"], math.tau), 2)
            found["height"], found["fastest"] = now["height"], fastest
            if reading is None or reading.mode is not Mode.POLICY or now["height"] < FALLEN:
                return
            if since["real"] >= self.config.seconds or not self.simulator.alive():
                found["up"] = self.simulator.alive()
                return
            time.sleep(0.02)

    def _account(self) -> None:
        last = self.client.reading()
        if last is not None:
            fired = zip(MONITORS, last.monitors.tolist(), strict=False)
            self.found |= {"mode": last.mode.name, "reason": last.reason, "fault": last.fault}
            self.found |= {"monitors": {name: int(count) for name, count in fired if count}}
            self.found |= {"ticks": last.seq, "late_ticks": last.late_ticks}
        self.found["control_hz"] = round(self.loop.stats().hz, 2)

    def _ask(self, mode: Mode, then: Mode, timeout: float) -> None:
        self._must(self.client.request_mode(mode))
        self._until(then, timeout)

    def _until(self, mode: Mode, timeout: float) -> None:
        def there() -> bool:
            if not self.process.alive():
                raise LinkError(self.process.complaint())
            reading = self.client.reading()
            return reading is not None and reading.mode is mode

        self._wait(there, timeout, f"{mode.name} not reached within {timeout:g} s")
        self.found["reached"] = mode.name
        print(f"{mode.name}: {json.dumps(self.simulator.said[-1])}", flush=True)

    def _wait(self, true: Callable[[], bool], timeout: float, otherwise: str) -> None:
        deadline = time.monotonic() + timeout
        while not true():
            if time.monotonic() > deadline or not self.simulator.alive():
                raise TimeoutError(otherwise)
            time.sleep(0.02)

    def _must(self, said: tuple[bool, str]) -> None:
        if not said[0]:
            raise LinkError(said[1])


def main() -> int:
    """Try the line against their simulator."""
    program = "python tools/try_unitree_mujoco.py"
    config = parse_or_exit(TryConfig(), sys.argv[1:], program, __doc__ or "")
    with contextlib.ExitStack() as stack:
        try:
            attempt = Attempt(config, stack)
        except TimeoutError as error:
            print(f"{program}: {error}", file=sys.stderr)
            return 1
        attempt.run()
    told = {"task": config.task, "mend": config.mend, "dt": config.dt, "yaw": config.yaw}
    print(json.dumps(told | attempt.found))
    return 0 if attempt.found.get("up") else 1


if __name__ == "__main__":
    sys.exit(main())
