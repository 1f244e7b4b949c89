"""One control tick: observation, action, targets. Owns the policies' memories and no clock.

Policies are loaded before the first tick; which one acts is decided by the task. At a change of
task the targets go on from where they were: the jump becomes an offset that fades.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np

from runtime import h1
from runtime.modes import Mode, minimum_jerk
from runtime.observation import Memory, observe, remember
from runtime.policy import Policy
from runtime.spec import SpecError
from runtime.state import Command, JointTargets, RobotState

SWITCH_TIME = 0.3  # s, in which the offset of a change of task fades


class Player:
    """One policy, its memory, and everything its tick needs, made beforehand."""

    def __init__(self, policy: Policy) -> None:
        spec = policy.spec
        self.policy, self.spec = policy, spec
        self.memory = Memory.create(spec)
        self.observation = np.zeros(spec.observation_size, np.float32)
        self.stiffness, self.damping = np.asarray(spec.stiffness), np.asarray(spec.damping)
        self.offset, self.scale = np.asarray(spec.action_offset), np.asarray(spec.action_scale)

    def target(self, action: np.ndarray) -> np.ndarray:
        """Return what `PolicySpec.target` does, rad [19], without its conversions."""
        raw = self.offset + self.scale * action
        np.maximum(raw, h1.JOINT_LOWER, out=raw)
        return np.minimum(raw, h1.JOINT_UPPER, out=raw)


class Ticker:
    """Turns states into targets; change `command` at any time."""

    def __init__(
        self, policy: Policy | Sequence[Policy], command: Command, *, understudy: bool = True
    ) -> None:
        policies = list(policy) if isinstance(policy, Sequence) else [policy]
        self.players = [Player(item) for item in policies]
        self.command = command
        self.bad = 0  # observations or actions with a number that is none
        self.switches = 0  # changes of task in POLICY
        self.observe_s = self.infer_s = 0.0  # s, of the last tick
        self._player = self.players[0]
        self._task = command.task
        self._seq = 0
        self._position: np.ndarray | None = None  # rad [19], the last target in POLICY
        self._jump: np.ndarray | None = None  # rad [19], offset at the last change of task
        self._since = 0  # ticks since then
        self._chosen = False
        self._understudy = Ticker(policies, command, understudy=False) if understudy else None

    @property
    def policy(self) -> Policy:
        """The policy that acts."""
        return self._player.policy

    def tick(self, state: RobotState, mode: Mode) -> JointTargets | None:
        """Return the targets for a state, or None if the policy cannot be asked.

        Outside POLICY the memory starts anew at every tick, so that the first action in POLICY is
        the first action of an episode. A change of task in POLICY keeps the memory if the same
        policy goes on: what the robot felt and did is true whatever the task.
        """
        command = self.command
        if not self._chosen or command.task != self._task:
            self._choose(command, mode)
        player = self._player
        if mode is not Mode.POLICY:
            player.memory.reset()
            self._position = self._jump = None
        begin = time.perf_counter()
        observation = observe(state, command, player.spec, player.memory, player.observation)
        seen = time.perf_counter()
        action = player.policy.infer(observation) if _finite(observation) else observation
        self.observe_s, self.infer_s = seen - begin, time.perf_counter() - seen
        if not _finite(action):
            player.memory.reset()
            self.bad += 1
            return None
        position = self._blended(player, action, mode)
        self._seq += 1
        return JointTargets(self._seq, time.monotonic(), position, player.stiffness, player.damping)

    def rehearse(self, state: RobotState, mode: Mode) -> None:
        """Let the understudy do the next tick, so that code and weights are in the caches.

        It has memories and targets of its own and shares only code and policies.
        """
        if self._understudy is not None:
            self._understudy.command = self.command
            self._understudy.tick(state, mode)

    def _choose(self, command: Command, mode: Mode) -> None:
        """Let the policy act that knows the task."""
        fitting = [item for item in self.players if _knows(item, command.task)]
        if not fitting:
            known = {item.spec.name: list(item.spec.tasks) for item in self.players}
            if len(known) > 1:
                raise SpecError(f"task '{command.task}' is not one of the policies': {known}")
            fitting = self.players  # its own words are better
        before = self._player
        self._player = before if before in fitting else fitting[0]
        if self._player is not before:
            self._player.memory.reset()
        if self._chosen and mode is Mode.POLICY:
            self.switches += 1
            self._since, self._jump = 0, np.full(h1.NUM_JOINTS, np.nan)
        self._task, self._chosen = command.task, True

    def _blended(self, player: Player, action: np.ndarray, mode: Mode) -> np.ndarray:
        """Return the target; after a change of task it starts where the last one was."""
        position = player.target(action)
        jump = self._jump
        if jump is None or self._position is None:
            remember(player.memory, action)
            self._jump = None
        else:
            if self._since == 0:
                np.subtract(self._position, position, out=jump)
            self._since += 1
            phase = self._since * player.spec.control_dt / SWITCH_TIME
            position = position + (1.0 - minimum_jerk(phase)) * jump  # both ends in range
            position = np.clip(position, h1.JOINT_LOWER, h1.JOINT_UPPER)
            remember(player.memory, (position - player.offset) / player.scale)
            self._jump = None if phase >= 1.0 else jump
        if mode is Mode.POLICY:
            self._position = position
        return position


def _knows(player: Player, task: object) -> bool:
    return not isinstance(task, str) or task in player.spec.tasks


def _finite(row: np.ndarray) -> bool:
    """Return True for finite numbers whose squares add up to a finite number."""
    return math.isfinite(row.dot(row))
