"""Faults that need more than a knob: what strangers, clocks and stalls do to the rig."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from runtime import frames
from runtime.faults.rig import COMMANDER, STRANGER, Rig
from runtime.frames import Verb
from runtime.modes import Mode
from runtime.spec import SPEC_VERSION
from runtime.state import JointTargets


def clock_jumps(rig: Rig) -> None:
    """The sender's clock jumps an hour back or forth at every frame."""

    def alter(targets: JointTargets) -> list[bytes]:
        jump = float(rig.random.choice([-3600.0, 3600.0]))
        return [rig.encoded(dataclasses.replace(targets, stamp=targets.stamp + jump))]

    rig.knobs.alter = alter


def push(newton: float) -> Callable[[Rig], None]:
    """Push the torso for 0.2 s from a random side."""

    def start(rig: Rig) -> None:
        angle = rig.random.uniform(0.0, 2.0 * np.pi)
        force = newton * np.array([np.cos(angle), np.sin(angle), 0.0])
        granted, reason = rig.robot.robot.push(force, 0.2)
        assert granted, reason

    return start


def stall(periods: int) -> Callable[[Rig], None]:
    """One tick of the robot process comes many periods late; the policy's frames queue up."""

    def start(rig: Rig) -> None:
        rig.knobs.late = periods
        rig.step()
        rig.knobs.late = 1

    return start


def end(rig: Rig) -> None:
    """A signal or a vanished parent; from now on somebody keeps asking for POLICY."""
    rig.server.stop("SIGTERM", rig.now)
    rig.knobs.extra = lambda: [[COMMANDER, rig.request(Verb.MODE, Mode.RAMP)]]


def truncated(rig: Rig) -> None:
    """Frames lose their tails."""
    rig.knobs.alter = lambda targets: [rig.encoded(targets)[: int(rig.random.integers(0, 700))]]


def another_version(rig: Rig) -> None:
    """Frames of the next version of the wire."""

    def alter(targets: JointTargets) -> list[bytes]:
        data = rig.encoded(targets)
        return [data[:4] + (frames.VERSION + 1).to_bytes(2, "little") + data[6:]]

    rig.knobs.alter = alter


def rubbish(rig: Rig) -> None:
    """Bytes from a stranger in every tick."""

    def extra() -> list[list[bytes]]:
        head = frames.MAGIC if rig.random.random() < 0.5 else b""
        return [[STRANGER, head + rig.random.bytes(int(rig.random.integers(0, 900)))]]

    rig.knobs.extra = extra


def duplicated(rig: Rig) -> None:
    """Every frame comes five times."""
    rig.knobs.alter = lambda targets: [rig.encoded(targets)] * 5


def second_commander(rig: Rig) -> None:
    """Somebody else asks for the lease and sends targets of his own, in every tick."""

    def extra() -> list[list[bytes]]:
        pose = rig.random.normal(size=19)
        wild = JointTargets(1, 0.0, pose, np.full(19, 100.0), np.full(19, 1.0))
        lease = rig.request(Verb.ACQUIRE, SPEC_VERSION, "intruder")
        return [[STRANGER, lease], [STRANGER, rig.encoded(wild)]]

    rig.knobs.extra = extra


def successor(rig: Rig) -> None:
    """The commander falls silent; another one takes the lease as soon as it may, and sends poses.

    It never asks for a mode: what the first one wished must not carry over.
    """
    second_commander(rig)
    rig.knobs.policy_every = 0


def stranger_asks(rig: Rig) -> None:
    """Somebody without the lease asks for every mode but ESTOP, and for other limits."""

    def extra() -> list[list[bytes]]:
        mode = int(rig.random.integers(0, Mode.ESTOP))
        limits = rig.request(Verb.LIMIT, 0, "rate_limit=1")
        return [[STRANGER, rig.request(Verb.MODE, mode)], [STRANGER, limits]]

    rig.knobs.extra = extra


def stranger_stops(rig: Rig) -> None:
    """Somebody without the lease asks for ESTOP, which is anybody's."""
    rig.link.inbox.append([STRANGER, rig.request(Verb.MODE, Mode.ESTOP)])


def released(rig: Rig) -> None:
    """The commander gives the lease back."""
    rig.link.inbox.append([COMMANDER, rig.request(Verb.RELEASE)])


def loosens(rig: Rig) -> None:
    """The commander asks for milder limits; a granted one would be seen by the check."""
    for text in ("rate_limit=1000 torque_factor=9", "tilt=off", "position_margin=0"):
        rig.link.inbox.append([COMMANDER, rig.request(Verb.LIMIT, 0, text)])


def tightens(rig: Rig) -> None:
    """The commander asks for half the torque and a tenth of the rate."""
    config = rig.server.guard.config
    rig.check.config = dataclasses.replace(config, rate_limit=2.0, torque_factor=0.5)
    granted, reason = rig.ask(Verb.LIMIT, 0, "rate_limit=2 torque_factor=0.5")
    assert granted, reason
