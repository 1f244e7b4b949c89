"""Would this policy survive a real robot's limits? Ask in simulation, before a robot is thought of.

    python -m runtime.fitness policy=models/h1/policy.onnx seconds=20 episodes=8

Every task runs with the limits of the hardware (`GuardConfig`), where a monitor that damps ends the
episode, and once more with the simulator's wide ones. The simulated drives have no top speed, so
joints faster than the real ones' limit are counted, not prevented. Exit code 0 only if every
episode of every task lasted under the hardware's limits. Ends with one line of JSON.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from runtime import h1
from runtime.cli import parse_or_exit
from runtime.guard import GuardConfig
from runtime.lockstep import SIMULATED, Episode, evaluate_lockstep
from runtime.policy import Policy, PolicyError, SpecError, load_policy
from runtime.state import RobotState


@dataclass(frozen=True)
class FitnessConfig:
    """Which policy, how long, how late."""

    policy: str = "models/h1/policy.onnx"  # an .onnx file; the default is the shipped one
    task: str = ""  # one of those that the policy knows; all if empty
    seconds: float = 20.0  # of an episode
    episodes: int = 8  # per task, seeds counting from `seed`
    delay: int = 3  # physics ticks of 2 ms that control is late, as over a wire
    seed: int = 0  # of the first episode's start
    guard: GuardConfig = field(default_factory=GuardConfig)  # the limits to survive


class Speeds:
    """The largest joint speeds seen, as shares of the drives' limits."""

    def __init__(self) -> None:
        self.share = np.zeros(h1.NUM_JOINTS)
        self.ticks = self.over = 0

    def __call__(self, state: RobotState) -> None:
        now = np.abs(state.joint_velocity) / h1.VELOCITY_LIMIT
        np.maximum(self.share, now, out=self.share)
        self.ticks += 1
        self.over += bool((now > 1.0).any())

    def fastest(self) -> tuple[str, float]:
        """Return the joint that came nearest to, or went furthest beyond, its limit."""
        worst = int(self.share.argmax())
        return h1.JOINT_NAMES[worst], round(float(self.share[worst]), 2)


def examine(policy: Policy, task: str, config: FitnessConfig, guard: GuardConfig) -> dict[str, Any]:
    """Return how a task's episodes went under one set of limits."""
    steps, speeds = round(config.seconds / h1.CONTROL_DT), Speeds()
    runs = [
        evaluate_lockstep(
            policy, task, config.seed + i, steps, guard=guard, delay_ticks=config.delay, seen=speeds
        )
        for i in range(config.episodes)
    ]
    joint, share = speeds.fastest()
    return {
        "lasted": sum(run.length == steps for run in runs),
        "fell": sum(run.fell for run in runs),
        "damped": sum(run.length < steps and not run.fell for run in runs),
        "seconds": round(float(np.mean([run.length for run in runs])) * h1.CONTROL_DT, 2),
        "return": round(float(np.mean([run.total for run in runs])), 1),
        "fastest_joint": joint,
        "of_its_limit": share,
        "ticks_over_a_limit": round(speeds.over / max(1, speeds.ticks), 4),
        "monitors": monitors(runs),
    }


def monitors(runs: list[Episode]) -> dict[str, int]:
    """Return how often each monitor fired, over all episodes."""
    names = sorted({name for run in runs for name in run.findings})
    return {name: sum(run.findings.get(name, 0) for run in runs) for name in names}


def main() -> None:
    """Examine every task under both sets of limits."""
    config = parse_or_exit(FitnessConfig(), sys.argv[1:], "runtime.fitness", __doc__ or "")
    try:
        policy = load_policy(config.policy)
        if config.task and config.task not in policy.spec.tasks:
            raise PolicyError(f"task={config.task}: the policy knows {list(policy.spec.tasks)}")
    except (PolicyError, SpecError) as error:
        print(f"runtime.fitness: {error}", file=sys.stderr)
        sys.exit(2)
    found: dict[str, Any] = {}
    print(f"{'':18}{'lasted':>8}{'fell':>6}{'damped':>8}{'mean s':>8}{'return':>8}  fastest joint")
    for task in (config.task,) if config.task else policy.spec.tasks:
        found[task] = {}
        for name, guard in (("hardware", config.guard), ("simulated", SIMULATED)):
            cell = found[task][name] = examine(policy, task, config, guard)
            print(
                f"{task:8}{name:10}{cell['lasted']:5d}/{config.episodes:<2d}{cell['fell']:6d}"
                f"{cell['damped']:8d}{cell['seconds']:8.1f}{cell['return']:8.0f}  "
                f"{cell['fastest_joint']} {cell['of_its_limit']:.2f} of its limit, some joint over "
                f"in {100 * cell['ticks_over_a_limit']:.1f} % of ticks",
                flush=True,
            )
    fit = all(cell["hardware"]["lasted"] == config.episodes for cell in found.values())
    print("fit for the hardware's limits" if fit else "NOT fit for the hardware's limits")
    facts = {key: asdict(config)[key] for key in ("policy", "seconds", "episodes", "delay", "seed")}
    print(json.dumps({"fit": fit, **found, **facts}))
    sys.exit(0 if fit else 1)


if __name__ == "__main__":
    main()
