"""A robot process, a simulated H1, a policy and a wire of bytes, in time that only the rig moves.

Everything between the policy's frame and the drives is the real thing: frames, lease, modes,
guard. Faults turn the rig's knobs. No socket, no clock, so a seed decides everything.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from runtime import frames, h1
from runtime.faults.checks import WriteCheck
from runtime.frames import Kind, Verb
from runtime.guard import GuardConfig
from runtime.modes import Mode, ModeConfig
from runtime.mujoco_robot import MujocoRobot
from runtime.policy import Policy
from runtime.robot import Health
from runtime.robot_server import DT, RobotServer
from runtime.server import ServerConfig
from runtime.server_link import CommandDesk, Request
from runtime.spec import SPEC_VERSION
from runtime.state import Command, JointTargets, RobotState
from runtime.ticker import Ticker

TICKS = round(h1.CONTROL_DT / DT)
COMMANDER, STRANGER = b"policy", b"stranger"
MODES = ModeConfig(ramp_time=0.4, hold_time=0.1)  # a robot's, but quick


class MemoryLink(CommandDesk):
    """The robot process's end of a wire that is a list."""

    def __init__(self) -> None:
        super().__init__()
        self.inbox: list[list[bytes]] = []
        self.answers: list[tuple[bytes, bool, str]] = []

    def receive(self, now: float) -> Iterator[JointTargets | Request]:
        """Yield what the frames that have arrived say."""
        inbox, self.inbox = self.inbox[:64], self.inbox[64:]
        for parts in inbox:
            message = self.accept(parts, now)
            if message is not None:
                yield message

    def send(self, parts: list[bytes]) -> None:
        """Keep an answer."""
        reply = frames.decode(parts[1], Kind.REPLY)[0]
        self.answers.append((parts[0], bool(reply["granted"]), frames.text(reply["reason"])))

    def publish(self, frame: np.ndarray) -> None:
        """Nobody listens."""


@dataclass
class Knobs:
    """What a fault may turn. Each default means: healthy."""

    policy_every: int = 1  # control ticks per answer; 0: the policy is gone
    alter: Callable[[JointTargets], list[bytes]] | None = None  # the frames sent instead
    extra: Callable[[], list[list[bytes]]] | None = None  # frames sent besides, each 2 ms
    sense: Callable[[RobotState], RobotState] | None = None  # what the sensors say instead
    delay: float = 0.0  # s, age of the states
    frozen: bool = False  # no new states
    repeating: bool = False  # new states that say the old thing
    lost_writes: float = 0.0  # share of commands the drives never get
    dead: tuple[int, ...] = ()  # joints without torque
    late: int = 1  # periods per tick of the robot process
    temperature: float = 40.0  # degC of one knee
    lost: int = 0  # frames that knee loses per tick
    battery: float = 80.0  # %
    broken: bool = False  # states arrive with a wrong CRC
    alarm: str = ""  # the remote's stop button


@dataclass
class FaultyRobot:
    """A simulated H1 whose sensors and drives obey the knobs."""

    robot: MujocoRobot
    knobs: Knobs
    random: np.random.Generator
    now: float = 0.0
    broken: int = 0
    broken_run: int = 0
    lost: np.ndarray = field(default_factory=lambda: np.zeros(h1.NUM_JOINTS, np.int64))
    last: RobotState | None = None
    past: deque[RobotState] = field(default_factory=lambda: deque(maxlen=200))

    def __post_init__(self) -> None:
        self._strength = self.robot.model.actuator_forcerange.copy()

    @property
    def alarm(self) -> str:
        """What the remote says."""
        return self.knobs.alarm

    @property
    def fallen(self) -> bool:
        """A real robot does not know."""
        return False

    @property
    def health(self) -> Health:
        """Temperatures, counters and battery."""
        heat = np.full(h1.NUM_JOINTS, 40.0)
        heat[3] = self.knobs.temperature
        return Health(heat, self.lost.copy(), self.knobs.battery, self.broken, self.broken_run)

    def read(self) -> RobotState:
        """Return the newest state that got through."""
        knobs = self.knobs
        fresh = dataclasses.replace(self.robot.read(), stamp=self.now)
        self.past.append(fresh)
        if knobs.broken:
            self.broken, self.broken_run = self.broken + 1, self.broken_run + 1
        else:
            self.broken_run = 0
        if self.last is not None and (knobs.frozen or knobs.broken):
            return self.last
        if self.last is not None and knobs.repeating:
            return dataclasses.replace(self.last, stamp=self.now)
        if knobs.delay:
            old = [item for item in self.past if self.now - item.stamp >= knobs.delay]
            fresh = old[-1] if old else self.past[0]
        self.last = knobs.sense(fresh) if knobs.sense else fresh
        return self.last

    def write(self, targets: JointTargets, ticks: int = 1) -> None:
        """Let the drives have the targets, unless they are lost on the way."""
        force = self.robot.model.actuator_forcerange
        force[:] = self._strength
        force[list(self.knobs.dead)] = 0.0
        self.lost[3] += self.knobs.lost
        if self.random.random() < self.knobs.lost_writes and self._before is not None:
            targets = self._before
        self._before = targets
        self.robot.write(targets, ticks)

    _before: JointTargets | None = None

    def place(self) -> None:
        """Put the robot up."""
        self.robot.place()

    def catch(self) -> None:
        """Hold the robot."""
        self.robot.catch()

    def release(self) -> None:
        """Let the robot stand."""
        self.robot.release()

    def close(self) -> None:
        """Nothing to let go of."""


class Rig:
    """Moves everything by 2 ms at a time."""

    def __init__(
        self,
        policy: Policy | Sequence[Policy],
        seed: int,
        *,
        guard: GuardConfig | None = None,
    ) -> None:
        first = policy[0] if isinstance(policy, Sequence) else policy
        self.random = np.random.default_rng(seed)
        self.knobs = Knobs()
        self.config = ServerConfig(modes=MODES, guard=guard or GuardConfig())
        self.robot = FaultyRobot(
            MujocoRobot(noise=0.005, seed=seed), self.knobs, np.random.default_rng(seed + 1)
        )
        self.link = MemoryLink()
        self.server = RobotServer(self.robot, self.link, self.config)  # type: ignore[arg-type]
        self.ticker = Ticker(policy, Command(first.spec.tasks[0]))
        self.check = WriteCheck(self.config.guard)
        self.now, self.seq, self.ticks = 100.0, 0, 0
        self.modes: list[tuple[float, Mode]] = []  # s, when each mode was entered
        self._target = frames.blank(Kind.TARGETS)
        write = self.robot.write

        def checked(targets: JointTargets, ticks: int = 1) -> None:
            state = self.robot.last
            assert state is not None
            self.check.see(self.mode, targets, state, DT * ticks)
            write(targets, ticks)

        self.robot.write = checked  # type: ignore[method-assign]

    @property
    def mode(self) -> Mode:
        """The mode the robot process is in."""
        return self.server.machine.mode

    def step(self) -> None:
        """Let one tick pass, and the policy act if it is its turn."""
        knobs = self.knobs
        self.now += DT * knobs.late
        self.robot.now = self.now
        self.ticks += 1
        if knobs.policy_every and self.ticks % (TICKS * knobs.policy_every) == 0:
            self._act()
        if knobs.extra:
            self.link.inbox += knobs.extra()
        self.server.tick(self.now, knobs.late)
        if not self.modes or self.modes[-1][1] is not self.mode:
            self.modes.append((self.now, self.mode))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self.now < end:
            self.step()

    def ask(
        self, verb: Verb, argument: int = 0, text: str = "", peer: bytes = COMMANDER
    ) -> tuple[bool, str]:
        """Send a request through the wire and return its answer."""
        self.link.inbox.append([peer, self.request(verb, argument, text)])
        count = len(self.link.answers)
        self.step()
        mine = [item for item in self.link.answers[count:] if item[0] == peer]
        return (mine[-1][1], mine[-1][2]) if mine else (False, "no answer")

    def request(self, verb: Verb, argument: int = 0, text: str = "") -> bytes:
        """Return a request's frame."""
        frame = frames.blank(Kind.REQUEST)
        self.seq += 1
        frame["seq"], frame["verb"], frame["argument"] = self.seq, verb, argument
        frame["joints"], frame["text"] = frames.JOINTS, text.encode()
        return frame.tobytes()

    def encoded(self, targets: JointTargets) -> bytes:
        """Return the targets' frame."""
        frame = self._target
        frame["seq"], frame["stamp"] = targets.seq, targets.stamp
        for name in ("position", "velocity", "torque", "stiffness", "damping"):
            frame[name][0] = getattr(targets, name)
        return frame.tobytes()

    def to_policy(self, patience: float = 3.0) -> bool:
        """Walk through the modes as a person would; return whether POLICY was reached."""
        self.ask(Verb.ACQUIRE, SPEC_VERSION, "policy")
        if self.mode is not Mode.DAMPING:
            self.ask(Verb.MODE, Mode.DAMPING)
        self.ask(Verb.MODE, Mode.RAMP)
        end = self.now + patience
        while self.mode is not Mode.HOLD and self.now < end:
            self.step()
        self.ask(Verb.MODE, Mode.POLICY)
        while self.mode is not Mode.POLICY and self.now < end:
            self.step()
        return self.mode is Mode.POLICY

    def _act(self) -> None:
        state = self.robot.last
        if state is None:
            return
        targets = self.ticker.tick(state, self.mode)
        if targets is None:
            return
        alter = self.knobs.alter
        sent = alter(targets) if alter else [self.encoded(targets)]
        self.link.inbox += [[COMMANDER, data] for data in sent]
