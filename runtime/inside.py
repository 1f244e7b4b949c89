"""A quick yes to "nothing to find": all limits of a set of targets at once, in arrays made before.

At almost every write nothing is to be found, and looking for it monitor by monitor is a third of
the robot process's own work. A no says nothing: then the monitors look, one after the other. Equal
to them by test, also at the limits and for numbers that are none. Knows no action and no counter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from runtime import h1
from runtime.state import JointTargets, RobotState, squares

if TYPE_CHECKING:
    from runtime.guard import GuardConfig

_SHAPE = (h1.NUM_JOINTS,)
_USUAL = np.stack([h1.STIFFNESS, h1.DAMPING, h1.VELOCITY_LIMIT, h1.TORQUE_LIMIT])  # [4, 19]


class Inside:
    """Room for the numbers of one look."""

    def __init__(self) -> None:
        self._gains, self._room = np.zeros((4, h1.NUM_JOINTS)), np.zeros((4, h1.NUM_JOINTS))
        self._flat_gains, self._flat_room = self._gains.reshape(-1), self._room.reshape(-1)
        self._rest = np.zeros(h1.NUM_JOINTS)
        self._config: GuardConfig | None = None
        self._lower = self._upper = self._torque = self._rest

    def admits(self, targets: JointTargets, factor: float) -> bool:
        """Return True if `check_finite` and `check_gains` find nothing."""
        position, gains, flat = targets.position, self._gains, self._flat_gains
        rows = (position, targets.stiffness, targets.damping, targets.velocity, targets.torque)
        if any(row.shape != _SHAPE for row in rows):
            return False
        gains[0], gains[1] = targets.stiffness, targets.damping
        np.abs(targets.velocity, out=gains[2])
        np.abs(targets.torque, out=gains[3])
        if not (np.vdot(flat, flat) < np.inf and squares(position) < np.inf):
            return False  # as `JointTargets.finite`: nothing beyond 1e150 either
        gains[3] *= factor
        np.divide(gains, _USUAL, out=gains)
        return bool(flat[flat.argmax()] <= factor and flat[flat.argmin()] >= 0.0)

    def keeps(
        self,
        targets: JointTargets,
        state: RobotState,
        previous: np.ndarray,
        step: float,
        config: GuardConfig,
    ) -> bool:
        """Return True if position, rate and torque clamps would change and find nothing.

        previous: rad [19], where the rate is counted from; step: rad, as far as it may go.
        """
        if config is not self._config:
            self._prepare(config)
        room, rest, position = self._room, self._rest, targets.position
        np.subtract(position, self._lower, out=room[0])
        np.subtract(self._upper, position, out=room[1])
        np.subtract(position, previous, out=room[2])
        np.abs(room[2], out=room[2])
        np.subtract(step, room[2], out=room[2])
        torque = room[3]
        np.subtract(targets.velocity, state.joint_velocity, out=rest)
        np.multiply(targets.damping, rest, out=rest)
        np.add(rest, targets.torque, out=rest)
        np.subtract(position, state.joint_position, out=torque)
        np.multiply(targets.stiffness, torque, out=torque)
        np.add(torque, rest, out=torque)
        np.abs(torque, out=torque)
        np.subtract(self._torque, torque, out=torque)
        flat = self._flat_room
        return bool(flat[flat.argmin()] >= 0.0)

    def _prepare(self, config: GuardConfig) -> None:
        self._config = config
        self._lower = h1.JOINT_LOWER + config.position_margin
        self._upper = h1.JOINT_UPPER - config.position_margin
        self._torque = config.torque_factor * h1.TORQUE_LIMIT
