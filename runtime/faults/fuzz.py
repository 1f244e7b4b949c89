"""A million frames: `python -m runtime.faults.fuzz frames=1000000`.

Mutated, truncated, random and well-formed but wild frames from the holder of the lease and from a
stranger go through the real decoding, lease, answers and guard, and what is admitted through the
guard's clamps, on a random state of the robot. Nothing may raise, no wish of a stranger's may be
granted but ESTOP and a free lease, no limit may be loosened, and nothing that would be written may
break one, as counted by an independent check.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

import numpy as np

from runtime import frames, h1
from runtime.answers import carry_out
from runtime.cli import parse_or_exit
from runtime.faults.checks import WriteCheck
from runtime.faults.rig import COMMANDER, STRANGER, MemoryLink
from runtime.frames import Kind, Verb
from runtime.guard import Guard, GuardConfig, loosened
from runtime.modes import Mode
from runtime.robot_server import RobotServer
from runtime.server import ServerConfig
from runtime.server_link import Request
from runtime.spec import SPEC_VERSION
from runtime.state import JointTargets, RobotState

DT = h1.PHYSICS_DT
ROWS = (
    ("position", np.ones(h1.NUM_JOINTS)),
    ("velocity", h1.VELOCITY_LIMIT),
    ("torque", h1.TORQUE_LIMIT),
    ("stiffness", h1.STIFFNESS),
    ("damping", h1.DAMPING),
)
WORDS = (
    "rate_limit=nan",
    "rate_limit=1e3",
    "torque_factor=-1",
    "tilt=off",
    "position_margin=1e9",
    "lost_limit=3.5",
    "a.b.c=1",
    "=",
    "0 0 nan 1",
    "1e999 0 0 1",
    "1 2",
    "walk",
    "",
)
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-320, 1e30, -1e30, 1e154, 1e300])


@dataclass(frozen=True)
class FuzzConfig:
    """How many frames, from which seed."""

    frames: int = 1_000_000  # how many to send
    seed: int = 0  # decides every frame


class Mutator:
    """Makes frames: some sane, most not."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        self._blank = {kind: frames.blank(kind) for kind in Kind}

    def frame(self) -> bytes:
        """Return the next frame."""
        choice = int(self.random.integers(10))
        if choice == 0:
            return self.random.bytes(int(self.random.integers(0, 1200)))
        data = self._targets() if choice < 7 else self._request() if choice < 9 else self._other()
        return self._damaged(data) if self.random.random() < 0.4 else data

    def _targets(self) -> bytes:
        frame, random = self._blank[Kind.TARGETS], self.random
        size = 10.0 ** random.uniform(-3.0, 2.0)
        for name, usual in ROWS:
            low = 0.0 if name in ("stiffness", "damping") else -1.0
            frame[name][0] = (
                random.uniform(low, 1.0, h1.NUM_JOINTS)
                * usual
                * (size if random.random() < 0.3 else 1.0)
            )
        if random.random() < 0.2:
            name = ROWS[int(random.integers(len(ROWS)))][0]
            frame[name][0, random.integers(h1.NUM_JOINTS)] = random.choice(SPECIAL)
        frame["seq"] = random.integers(2**63)
        return frame.tobytes()

    def _request(self) -> bytes:
        frame, random = self._blank[Kind.REQUEST], self.random
        frame["verb"], frame["argument"] = random.integers(12), random.integers(9)
        frame["joints"] = frames.JOINTS if random.random() < 0.9 else random.bytes(16)
        wild = random.bytes(int(random.integers(64)))
        frame["text"] = wild if random.random() < 0.5 else str(random.choice(WORDS)).encode()
        return frame.tobytes()

    def _other(self) -> bytes:
        kinds = (Kind.STATE, Kind.REPLY, Kind.WISH, Kind.ANSWER)
        return self._blank[kinds[int(self.random.integers(len(kinds)))]].tobytes()

    def _damaged(self, data: bytes) -> bytes:
        damaged = bytearray(data)
        for place in self.random.integers(0, len(data), int(self.random.integers(1, 9))):
            damaged[place] = int(self.random.integers(256))
        cut = len(data) if self.random.random() < 0.7 else int(self.random.integers(len(data)))
        return bytes(damaged[:cut])


class Lying:
    """A robot that lies there: what a request may want of one."""

    alarm, fallen, task = "", False, "stand"

    def read(self) -> RobotState:
        """Nobody asks."""
        raise NotImplementedError

    def write(self, targets: JointTargets, ticks: int = 1) -> None:
        """Nobody writes."""
        raise NotImplementedError

    place = catch = release = close = lambda self: None


class Answers:
    """The robot process's answers to the requests that got through, in the mode it then is in."""

    def __init__(self, link: MemoryLink, guard: Guard) -> None:
        self.server = RobotServer(Lying(), link, ServerConfig())  # type: ignore[arg-type]
        self.server.guard = guard
        self.granted = 0

    def see(self, request: Request, now: float) -> None:
        """Answer a request as the process does, then start anew: in HOLD, with the usual limits."""
        server, stranger = self.server, request.peer != COMMANDER
        server.machine.mode, server.verified = Mode.HOLD, True
        granted, reason = carry_out(
            server, request, now
        )  # not `answer`, which lets nothing through
        self.granted += granted
        stop = request.verb is Verb.MODE and request.argument == Mode.ESTOP
        assert not (granted and stranger and not stop), f"granted to a stranger: {request}"
        assert not loosened(GuardConfig(), server.guard.config), f"loosened by {request}"
        assert granted or reason, f"refused without a reason: {request}"
        server.guard.config = GuardConfig()


def fuzz(config: FuzzConfig) -> dict[str, int]:
    """Send the frames; return what became of them."""
    random = np.random.default_rng(config.seed)
    mutator, link = Mutator(random), MemoryLink()
    guard, check = Guard(GuardConfig()), WriteCheck(GuardConfig())
    answers = Answers(link, guard)
    counts = dict.fromkeys(("frames", "requests", "admitted", "rejected"), 0)
    lease = Request(COMMANDER, 1, Verb.ACQUIRE, SPEC_VERSION, "fuzz")
    state, now = _state(random), 0.0
    link.lease(lease, now)
    for number in range(config.frames):
        counts["frames"] += 1
        if number % 100 == 0:
            state, now = _state(random), now + DT
            guard.forget()
            check.see(Mode.DAMPING, _damping(), state, DT)
            link.answers.clear()
        link.lease(lease, now)
        peer = COMMANDER if random.random() < 0.8 else STRANGER
        message = link.accept([peer, mutator.frame()], now)
        if isinstance(message, Request):
            counts["requests"] += 1
            answers.see(message, now)
        elif message is not None and guard.admit(message):
            counts["admitted"] += 1
            assert peer == COMMANDER, "targets of somebody without the lease"
            check.see(Mode.POLICY, guard.apply(message, state, DT), state, DT)
        elif message is not None:
            counts["rejected"] += 1
    counts |= {"granted": answers.granted, "refused": link.refused}
    return counts | {"limit_exceeded": check.exceeded}


def _state(random: np.random.Generator) -> RobotState:
    pose = random.uniform(h1.JOINT_LOWER - 0.05, h1.JOINT_UPPER + 0.05)
    speed = random.normal(size=h1.NUM_JOINTS) * 5.0
    return RobotState(0.0, np.array([1.0, 0, 0, 0]), np.zeros(3), pose, speed)


def _damping() -> JointTargets:
    return JointTargets(0, 0.0, h1.DEFAULT_POSE, np.zeros(h1.NUM_JOINTS), h1.DAMPING)


def main() -> None:
    """Fuzz, print what became of the frames and a line of JSON."""
    config = parse_or_exit(
        FuzzConfig(), sys.argv[1:], "python -m runtime.faults.fuzz", __doc__ or ""
    )
    report = fuzz(config)
    for name, count in report.items():
        print(f"{name:<16}{count:>10}")
    print(json.dumps(report))
    sys.exit(1 if report["limit_exceeded"] else 0)


if __name__ == "__main__":
    main()
