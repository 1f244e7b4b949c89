"""A thousand changes of task in POLICY: `python -m runtime.faults.switches count=1000`.

Each after a random time; a robot that fell is put up again. Counts writes that break a limit, falls
by the task that was wished when the guard damped, and how far the policy's target jumps from one
control tick to the next at a change, and otherwise.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field

import numpy as np

from runtime import h1
from runtime.cli import ConfigError, parse_or_exit
from runtime.faults.rig import Rig
from runtime.guard import Action
from runtime.modes import Mode
from runtime.policy import Policy, PolicyError, load_policy
from runtime.spec import SpecError
from runtime.state import Command, JointTargets


@dataclass(frozen=True)
class SwitchConfig:
    """What to switch between, and how often."""

    policy: str = "models/h1/policy.onnx"  # several files by commas: each brings its tasks
    tasks: str = (
        ""  # by commas; empty: all that the policies know. POLICY is entered with the first
    )
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
    rig, jumps = Rig(policies, config.seed), Jumps()
    tasks = tasks_of(config, policies)
    seconds, falls = dict.fromkeys(tasks, 0.0), dict.fromkeys(tasks, 0)
    causes: dict[str, int] = {}

    def watched(targets: JointTargets) -> list[bytes]:
        jumps.see(targets, rig.ticker.command.task)
        return [rig.encoded(targets)]

    rig.knobs.alter = watched
    while rig.ticker.switches < config.count:
        if rig.mode is not Mode.POLICY:
            rig.robot.place()
            rig.ticker.command = Command(tasks[0])
            if not rig.to_policy():
                raise RuntimeError(f"POLICY not reached: {rig.server.machine.reason}")
            jumps.before = None
        now, seen = str(rig.ticker.command.task), rig.now
        rig.run(rig.random.uniform(config.shortest, config.longest))
        if rig.mode is Mode.POLICY:
            seconds[now] += rig.now - seen
            others = [task for task in tasks if task != now]
            rig.ticker.command = Command(str(rig.random.choice(others)))
        else:
            left = next(when for when, mode in rig.modes if when > seen and mode is not Mode.POLICY)
            seconds[now] += left - seen
            falls[now] += 1
            cause = f"{now}: {_cause(rig, left)}"
            causes[cause] = causes.get(cause, 0) + 1
    return {
        "switches": rig.ticker.switches,
        "seconds": round(rig.now - 100.0, 1),
        "writes": rig.check.writes,
        "limit_exceeded": rig.check.exceeded,
        "falls": falls,
        "seconds_in_policy": {task: round(value, 1) for task, value in seconds.items()},
        "causes": causes,
        "step_at_switch_rad": _quantiles(jumps.switched),
        "step_otherwise_rad": _quantiles(jumps.steady),
    }


def _cause(rig: Rig, when: float) -> str:
    """Return the monitor and the joint that ended POLICY; what fired after it is no cause."""
    found = [
        finding
        for at, action, finding in rig.server.guard.record
        if action >= Action.DAMP and at <= when
    ]
    if not found:
        return rig.server.machine.reason
    joint = found[-1].joint
    return found[-1].monitor + (f" of {h1.JOINT_NAMES[joint]}" if joint >= 0 else "")


def tasks_of(config: SwitchConfig, policies: list[Policy]) -> list[str]:
    """Return the tasks to switch between; raise ConfigError for fewer than two, or unknown ones."""
    known = list(dict.fromkeys(task for policy in policies for task in policy.spec.tasks))
    tasks = config.tasks.split(",") if config.tasks else known
    unknown = [task for task in tasks if task not in known]
    if unknown or len(set(tasks)) < 2:
        raise ConfigError(f"tasks={config.tasks}: expected two or more of {known}")
    return tasks


def _quantiles(steps: list[float]) -> list[float]:
    """Return p50, p95 and the largest."""
    return [round(float(value), 4) for value in np.percentile(steps or [0.0], [50, 95, 100])]


def main() -> None:
    """Switch, print what was seen and a line of JSON."""
    words = sys.argv[1:]
    config = parse_or_exit(
        SwitchConfig(), words, "python -m runtime.faults.switches", __doc__ or ""
    )
    try:
        report = switch(config, [load_policy(path) for path in config.policy.split(",")])
    except (ConfigError, PolicyError, SpecError) as error:
        sys.exit(f"runtime.faults.switches: {error}")
    for name, value in report.items():
        print(f"{name:<20}{value!s}")
    print(json.dumps(report))
    sys.exit(1 if report["limit_exceeded"] else 0)


if __name__ == "__main__":
    main()
