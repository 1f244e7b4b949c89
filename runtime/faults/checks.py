"""What the drives may be asked for, computed anew and independently of the guard.

Looks at every write, compares it with the figures of `runtime.h1`, and keeps the worst.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from runtime import h1
from runtime.guard import GuardConfig
from runtime.modes import STIFF, Mode
from runtime.state import JointTargets, RobotState

ROUNDING = 1e-6  # N m, rad


@dataclass
class WriteCheck:
    """Counts writes that break a limit; `worst` says by how much, in words."""

    config: GuardConfig
    exceeded: int = 0
    writes: int = 0
    worst: dict[str, float] = field(default_factory=dict)
    _before: np.ndarray | None = None

    def see(self, mode: Mode, targets: JointTargets, state: RobotState, dt: float) -> None:
        """Judge one write made in a mode, on what the process knew of the robot."""
        self.writes += 1
        if not targets.finite:
            self._broken("finite", 1.0)
            return
        if mode not in STIFF:
            self._before = None
            self._broken("stiffness without a stiff mode", float(targets.stiffness.max()))
            self._broken("feed-forward without a stiff mode", float(np.abs(targets.torque).max()))
            return
        clamped = self._torque(targets, state)
        self._range(targets, state, clamped)
        self._rate(targets, state, clamped, dt)

    def _torque(self, targets: JointTargets, state: RobotState) -> np.ndarray:
        """Judge the torque a drive computes; return where it sits at its limit, [19] bool."""
        stretch = targets.position - state.joint_position
        slip = targets.velocity - state.joint_velocity
        torque = targets.stiffness * stretch + targets.damping * slip + targets.torque
        limit = self.config.torque_factor * h1.TORQUE_LIMIT
        self._broken("torque", float((np.abs(torque) - limit).max()))
        return np.abs(torque) >= limit * (1.0 - 1e-6)

    def _range(self, targets: JointTargets, state: RobotState, clamped: np.ndarray) -> None:
        """A joint may be asked beyond its range only on its way back from further outside.

        Where the torque sits at its limit the target is a torque in disguise, and free.
        """
        margin = self.config.position_margin
        lower = np.minimum(h1.JOINT_LOWER + margin, self._start(state))
        upper = np.maximum(h1.JOINT_UPPER - margin, self._start(state))
        over = np.maximum(lower - targets.position, targets.position - upper)
        self._broken("range", float(np.where(clamped, 0.0, over).max()))

    def _rate(
        self, targets: JointTargets, state: RobotState, clamped: np.ndarray, dt: float
    ) -> None:
        """A target moves at most so fast, except where the torque clamp has moved it."""
        moved = np.abs(targets.position - self._start(state)) - self.config.rate_limit * dt
        free = clamped | self._was_clamped
        self._broken("rate", float(np.where(free, 0.0, moved).max()))
        self._before, self._was_clamped = targets.position.copy(), clamped

    def _start(self, state: RobotState) -> np.ndarray:
        if self._before is None:
            self._was_clamped = np.zeros(h1.NUM_JOINTS, bool)
            return state.joint_position
        return self._before

    def _broken(self, name: str, over: float) -> None:
        if over > ROUNDING:
            self.exceeded += 1
            self.worst[name] = max(over, self.worst.get(name, 0.0))
