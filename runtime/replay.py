"""Feed a recording through observe, infer and guard again, and say where the outputs differ.

    python runtime/replay.py bag=run.mcap policy=models/h1/policy.onnx

Exit code 0 if everything came out as recorded, 1 if not, 2 for bad input. The last line is JSON.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime import h1
from runtime.bag import Bag, BagError, load
from runtime.cli import ConfigError, parse, parse_or_exit
from runtime.guard import Guard
from runtime.modes import STIFF, Mode, Setpoints
from runtime.policy import Policy, PolicyError, SpecError, load_policy
from runtime.robot_server import MOST_TICKS
from runtime.server import ServerConfig, base_config
from runtime.state import JointTargets, RobotState
from runtime.ticker import Ticker

ENOUGH = 20  # writes in a row that must come out right before a recording that began late counts


@dataclass(frozen=True)
class ReplayConfig:
    """What to replay, and how alike is alike."""

    bag: str = "run.mcap"  # the recording
    policy: str = ""  # an .onnx file; empty: the one named in the recording
    engine: str = "ort"  # or tensorrt
    tolerance: float = 1e-5  # rad, of a joint target
    server: str = ""  # words of the robot process, by commas; empty: those named in the recording
    show: int = 5  # differences to print


@dataclass(frozen=True)
class Difference:
    """One output that did not come out as recorded."""

    what: str  # policy or guard
    time: float  # s since the recording's first tick
    joint: int
    recorded: float  # rad
    replayed: float  # rad

    def __str__(self) -> str:
        return (
            f"{self.what:<7} {self.time:9.3f} s  {h1.JOINT_NAMES[self.joint]:<22} "
            f"recorded {self.recorded:+.6f}  replayed {self.replayed:+.6f} rad"
        )


@dataclass
class Result:
    """How much was compared, and what differed."""

    compared: int = 0
    worst: float = 0.0  # rad
    differences: list[Difference] | None = None

    def compare(
        self, what: str, time: float, was: np.ndarray, now: np.ndarray, tolerance: float
    ) -> None:
        """Compare two rows of joint targets [19]."""
        self.compared += 1
        gap = np.abs(np.where(np.isfinite(was), was, 1e9) - np.where(np.isfinite(now), now, -1e9))
        joint = int(gap.argmax())
        self.worst = max(self.worst, float(gap[joint]))
        if gap[joint] > tolerance:
            found = Difference(what, time, joint, float(was[joint]), float(now[joint]))
            self.differences = [*(self.differences or []), found]

    @property
    def count(self) -> int:
        """Return how many rows differed."""
        return len(self.differences or [])


def replay_policy(bag: Bag, policy: Policy, tolerance: float) -> tuple[Result, int]:
    """Ask the policy everything again; return what differed, and how many ticks were missing."""
    result, missing = Result(), 0
    if not bag.ticks:
        return result, missing
    ticker, last = Ticker(policy, bag.ticks[0].command), 0
    for tick in bag.ticks:
        ticker.command = tick.command
        targets = ticker.tick(tick.state, tick.mode)
        if tick.position is None:
            continue
        missing += max(0, tick.seq - last - 1) if last else 0
        last = tick.seq
        now = np.full(h1.NUM_JOINTS, np.nan) if targets is None else targets.position
        result.compare("policy", tick.time - bag.ticks[0].time, tick.position, now, tolerance)
    return result, missing


def replay_guard(bag: Bag, config: ServerConfig, policy: Policy, tolerance: float) -> Result:
    """Put the recorded targets through blend and guard again.

    The guard remembers its last target: writes count from where that is known, which is after a
    mode without stiffness, or once replayed writes of RAMP or HOLD came out right for a while.
    """
    result = Result()
    if not len(bag.time):
        return result
    wanted = {tick.seq: tick for tick in bag.ticks if tick.position is not None}
    guard, setpoints = Guard(config.guard), Setpoints(config.modes)
    process, since, before, known, right = bag.process, 0.0, None, False, 0
    for row in range(len(bag.time)):
        mode, now = Mode(int(process["mode"][row])), float(process["now"][row])
        gap = row == 0 or process["seq"][row] != process["seq"][row - 1] + 1
        known = (known and not gap) or mode not in STIFF
        if mode is not before:
            since, before = now, mode
            if mode not in STIFF:
                guard.forget()
        late = 0 if row == 0 else process["late_ticks"][row] - process["late_ticks"][row - 1]
        state = RobotState(
            now, bag.torso[row, :4], bag.torso[row, 4:], bag.position[row], bag.velocity[row]
        )
        tick = wanted.get(int(process["target_seq"][row]))
        if mode is Mode.POLICY and tick is None:
            known = False  # adopted targets that were not recorded
        targets = setpoints.targets(mode, now - since, state, _targets(tick, policy))
        if mode not in STIFF:
            continue
        ticks = min(1 + int(late), MOST_TICKS)
        targets = guard.apply(targets, state, h1.PHYSICS_DT * ticks)
        if mode is not Mode.POLICY:
            same = abs(targets.position - bag.written[row]).max() <= tolerance
            right = right + 1 if same else 0
            known = known or right >= ENOUGH
        elif known:
            time = bag.time[row] - bag.time[0]
            result.compare("guard", time, bag.written[row], targets.position, tolerance)
    return result


def _targets(tick: Any, policy: Policy) -> JointTargets | None:
    if tick is None:
        return None
    spec = policy.spec
    gains = np.asarray(spec.stiffness), np.asarray(spec.damping)
    return JointTargets(tick.seq, 0.0, tick.position, *gains)


def report(config: ReplayConfig, bag: Bag) -> dict[str, Any]:
    """Replay everything; print what differed; return the figures."""
    policy = load_policy(config.policy or bag.about.get("policy", ""), engine=config.engine)
    words = config.server or bag.about.get("server", "")
    server = parse(
        base_config(bag.about.get("robot", "mujoco")), list(filter(None, words.split(",")))
    )
    asked, missing = replay_policy(bag, policy, config.tolerance)
    guarded = replay_guard(bag, server, policy, config.tolerance)
    for result in (asked, guarded):
        for item in (result.differences or [])[: config.show]:
            print(item)
    return {
        "bag": str(bag.path),
        "policy": policy.spec.name,
        "ticks": len(bag.ticks),
        "ticks_missing": missing,
        "targets_compared": asked.compared,
        "targets_different": asked.count,
        "target_worst_rad": asked.worst,
        "writes_compared": guarded.compared,
        "writes_different": guarded.count,
        "write_worst_rad": guarded.worst,
    }


def main() -> None:
    """Replay and report."""
    words = sys.argv[1:]
    config = parse_or_exit(ReplayConfig(), words, "python runtime/replay.py", __doc__ or "")
    try:
        figures = report(config, load(config.bag))
    except ImportError as error:
        sys.exit(f"replay: {error} (pip install 'ezm[record]')")
    except (BagError, PolicyError, SpecError, ConfigError) as error:
        print(f"replay: {error}", file=sys.stderr)
        sys.exit(2)
    print(json.dumps(figures), flush=True)
    if not figures["targets_compared"]:
        print("replay: the recording has no control ticks", file=sys.stderr)
        sys.exit(2)
    sys.exit(1 if figures["targets_different"] or figures["writes_different"] else 0)


if __name__ == "__main__":
    main()
