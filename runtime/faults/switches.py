"""A thousand changes of task in POLICY: `python -m runtime.faults.switches count=1000`.

Each after a random time; a robot that fell is put up again. Counts writes that break a limit and
how far the policy's target jumps from one control tick to the next at a change, and otherwise.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field

import numpy as np

from runtime.cli import parse_or_exit
from runtime.faults.rig import Rig
from runtime.modes import Mode
from runtime.policy import Policy, load_policy
from runtime.state import Command, JointTargets


@dataclass(frozen=True)
class SwitchConfig:
    """What to switch between, and how often."""

    policy: str = "models/h1/policy.onnx"  # several files by commas: each brings its tasks
    tasks: str = "stand,walk"  # POLICY is entered with the first
    count: int = 1000  # changes of task in POLICY
    seed: int = 0  # of noise, times and tasks
    shortest: float = 0.06  # s between two changes, at least
    longest: float = 0.3  # s, at most


@dataclass
class Jumps:
    """Steps of the targets, rad, between control ticks."""

    before: np.ndarray | None = None
    task: object = None
    switched: list[float] = field(default_factory=list)
    steady: list[float] = field(default_factory=list)

    def see(self, targets: JointTargets, task: object) -> None:
        """Note the largest joint's step."""
        if self.before is not None:
            step = float(np.abs(targets.position - self.before).max())
            (self.steady if task == self.task else self.switched).append(step)
        self.before, self.task = targets.position.copy(), task


def switch(config: SwitchConfig, policies: list[Policy]) -> dict[str, object]:
    """Run until `count` changes of task; return what was seen."""
    rig = Rig(policies, config.seed)
    tasks, jumps, falls = config.tasks.split(","), Jumps(), 0

    def watched(targets: JointTargets) -> list[bytes]:
        jumps.see(targets, rig.ticker.command.task)
        return [rig.encoded(targets)]

    rig.knobs.alter = watched
    while rig.ticker.switches < config.count:
        if rig.mode is not Mode.POLICY:
            falls += bool(rig.modes) and rig.ticker.switches > 0
            rig.robot.place()
            rig.ticker.command = Command(tasks[0])
            if not rig.to_policy():
                raise RuntimeError(f"POLICY not reached: {rig.server.machine.reason}")
            jumps.before = None
        rig.run(rig.random.uniform(config.shortest, config.longest))
        others = [task for task in tasks if task != rig.ticker.command.task]
        rig.ticker.command = Command(str(rig.random.choice(others)))
    return {
        "switches": rig.ticker.switches,
        "seconds": round(rig.now - 100.0, 1),
        "writes": rig.check.writes,
        "limit_exceeded": rig.check.exceeded,
        "damped": falls,
        "step_at_switch_rad": _quantiles(jumps.switched),
        "step_otherwise_rad": _quantiles(jumps.steady),
    }


def _quantiles(steps: list[float]) -> list[float]:
    """Return p50, p95 and the largest."""
    return [round(float(value), 4) for value in np.percentile(steps or [0.0], [50, 95, 100])]


def main() -> None:
    """Switch, print what was seen and a line of JSON."""
    words = sys.argv[1:]
    config = parse_or_exit(
        SwitchConfig(), words, "python -m runtime.faults.switches", __doc__ or ""
    )
    report = switch(config, [load_policy(path) for path in config.policy.split(",")])
    for name, value in report.items():
        print(f"{name:<20}{value!s:>28}")
    print(json.dumps(report))
    sys.exit(1 if report["limit_exceeded"] else 0)


if __name__ == "__main__":
    main()
