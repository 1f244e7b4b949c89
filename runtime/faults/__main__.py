"""The campaign: `python -m runtime.faults seeds=3`: every named fault, a table, a line of JSON.

Most faults run in a rig whose time is counted, so their figures do not depend on the machine; the
last ones run in real processes. The exit code is 0 only if everything went as promised.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass

from runtime.cli import parse_or_exit
from runtime.faults import processes
from runtime.faults.catalogue import FAULTS, Fault
from runtime.faults.trial import Trial, run
from runtime.policy import Policy, PolicyError, load_policy
from runtime.spec import SpecError


@dataclass(frozen=True)
class CampaignConfig:
    """What to break, and how often."""

    policy: str = "models/h1/policy.onnx"  # the policy that the faults meet
    seeds: int = 3  # trials per fault of the rig
    first_seed: int = 0  # the others follow
    only: str = ""  # faults whose names contain this
    processes: bool = True  # also those of real processes


def main() -> None:
    """Run the campaign."""
    words = sys.argv[1:]
    config = parse_or_exit(CampaignConfig(), words, "python -m runtime.faults", __doc__ or "")
    try:
        policy = load_policy(config.policy)
    except (PolicyError, SpecError) as error:
        sys.exit(f"runtime.faults: {error}")
    chosen = [fault for fault in FAULTS if config.only in fault.name]
    names = [name for name in processes.FAULTS if config.processes and config.only in name]
    if not chosen and not names:
        known = [fault.name for fault in FAULTS] + list(processes.FAULTS)
        sys.exit(f"runtime.faults: only={config.only}: no such fault; there are {known}")
    print(f"{'fault':<32}{'seeds':>6}{'limits':>8}  {'ends in':<16}{'damped after':>13}  then")
    trials = [_row(fault, policy, config) for fault in chosen]
    others = [_process_row(name, config.policy) for name in names]
    report = summary([trial for row in trials for trial in row], others)
    print(json.dumps(report))
    sys.exit(1 if report["broken"] or report["limit_exceeded"] else 0)


def _row(fault: Fault, policy: Policy, config: CampaignConfig) -> list[Trial]:
    """Run a fault with every seed and print its line."""
    seeds = range(config.first_seed, config.first_seed + config.seeds)
    trials = [run(fault, seed, policy) for seed in seeds]
    modes = "|".join(sorted({trial.mode.name for trial in trials}))
    times = [trial.damped for trial in trials if not math.isnan(trial.damped)]
    damped = f"{max(times) * 1e3:.0f} ms" if times else "-"
    after = "|".join(sorted({trial.after for trial in trials}))
    exceeded = sum(trial.exceeded for trial in trials)
    print(f"{fault.name:<32}{len(trials):>6}{exceeded:>8}  {modes:<16}{damped:>13}  {after}")
    _complain(sorted({trial.complaint for trial in trials if trial.complaint}))
    return trials


def _process_row(name: str, policy: str) -> processes.ProcessTrial:
    trial = processes.run(name, policy)
    damped = "-" if math.isnan(trial.damped) else f"{trial.damped * 1e3:.0f} ms*"
    print(f"{name:<32}{1:>6}{'':>8}  {trial.mode:<16}{damped:>13}")
    _complain([trial.complaint] if trial.complaint else [])
    return trial


def _complain(complaints: list[str]) -> None:
    for complaint in complaints:
        print(f"    NOT AS PROMISED: {complaint}")
    sys.stdout.flush()


def summary(trials: list[Trial], others: list[processes.ProcessTrial]) -> dict[str, object]:
    """Return the last line's figures; times of real processes are counted from the fault itself."""
    times = [trial.damped for trial in trials if not math.isnan(trial.damped)]
    broken = [trial for trial in [*trials, *others] if trial.complaint]
    return {
        "faults": len({trial.fault for trial in trials}) + len(others),
        "trials": len(trials) + len(others),
        "writes": sum(trial.writes for trial in trials),
        "limit_exceeded": sum(trial.exceeded for trial in trials),
        "damped_ms_max": round(max(times, default=0.0) * 1e3, 1),
        "recovered": sum(trial.after == "recovered" for trial in trials),
        "latched": sum(trial.after == "latched" for trial in trials),
        "continued": sum(trial.after == "continued" for trial in trials),
        "broken": sorted({trial.fault for trial in broken}),
    }


if __name__ == "__main__":
    main()
