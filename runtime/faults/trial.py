"""One trial: bring the robot into POLICY, start a fault, see what happens, end it, start again."""

from __future__ import annotations

import math
from dataclasses import dataclass

from runtime.faults.catalogue import Fault
from runtime.faults.rig import Knobs, Rig
from runtime.frames import Verb
from runtime.guard import Action
from runtime.modes import Mode
from runtime.policy import Policy

ALLOWED = 0.1  # s from when a fault is due to be seen until the drives are damped


@dataclass(frozen=True)
class Trial:
    """What came of one fault and one seed."""

    fault: str
    seed: int
    exceeded: int  # writes that broke a limit
    writes: int
    mode: Mode  # at the fault's end
    damped: float  # s from when it was due until damping; NaN: it was not damped
    after: str  # continued | recovered | latched
    complaint: str  # what was not as promised


def run(fault: Fault, seed: int, policy: Policy) -> Trial:
    """Run one trial; only a broken rig raises."""
    rig = Rig(policy, seed)
    if not rig.to_policy():
        raise RuntimeError(f"POLICY not reached without any fault: {rig.server.machine.reason}")
    rig.run(0.3 + 0.02 * float(rig.random.random()))
    begin, seen = rig.now, len(rig.server.guard.record)
    before = dict(rig.server.guard.counts)
    fault.start(rig)
    rig.run(max(0.0, begin + fault.lasts - rig.now))
    mode = rig.mode
    complaints = _complaints(rig, fault, begin, before)
    damped = _damped(rig, fault, begin, seen)
    if not math.isnan(damped) and damped > ALLOWED:
        complaints.append(f"damped {damped * 1e3:.0f} ms after it was due")
    after = _after(rig, fault, mode)
    wanted = "latched" if fault.latched else "recovered"
    if mode is not Mode.POLICY and after != wanted and not rig.server.closing:
        complaints.append(f"{after}, not {wanted}")
    check = rig.check
    if check.exceeded:
        complaints.append(f"limits exceeded: {check.worst}")
    return Trial(
        fault.name, seed, check.exceeded, check.writes, mode, damped, after, "; ".join(complaints)
    )


def _complaints(rig: Rig, fault: Fault, begin: float, before: dict[str, int]) -> list[str]:
    found = []
    if rig.mode not in fault.ends:
        wanted = "|".join(sorted(mode.name for mode in fault.ends))
        found.append(f"in {rig.mode.name} ({rig.server.machine.reason}), not {wanted}")
    counts = rig.server.guard.counts
    if fault.monitor and counts[fault.monitor] == before[fault.monitor]:
        found.append(f"{fault.monitor} did not fire")
    stiff_after = [mode for when, mode in rig.modes if when > begin and mode is not Mode.POLICY]
    if any(mode not in (Mode.DAMPING, Mode.ESTOP) for mode in stiff_after):
        found.append(f"went through {[mode.name for mode in stiff_after]}")
    return found


def _damped(rig: Rig, fault: Fault, begin: float, seen: int) -> float:
    """Return s from when damping was due until it came; due by a finding where only it knows."""
    left = [when for when, mode in rig.modes if when > begin and mode is not Mode.POLICY]
    if not left:
        return math.nan
    record = list(rig.server.guard.record)[seen:]
    found = [when for when, action, _ in record if action >= Action.DAMP]
    due = begin + fault.due if not math.isnan(fault.due) else (found or left)[0]
    if Mode.POLICY in fault.ends and found:
        due = found[0]
    return max(0.0, left[0] - due)


def _after(rig: Rig, fault: Fault, mode: Mode) -> str:
    """End the fault and try to go on."""
    for name, value in vars(Knobs()).items():
        setattr(rig.knobs, name, value)
    rig.run(fault.clears)
    if mode is Mode.POLICY and rig.mode is Mode.POLICY:
        return "continued"
    if rig.server.closing:
        return "ending"
    if mode is Mode.ESTOP:
        rig.ask(Verb.MODE, Mode.RAMP)
        if rig.mode is not Mode.ESTOP:
            return "not latched"
    rig.robot.place()  # people lift it
    recovered = rig.to_policy()
    if not recovered:
        return f"stuck in {rig.mode.name}: {rig.server.machine.reason}"
    return "latched" if mode is Mode.ESTOP else "recovered"
