"""What a person wants of the policy, put together from parameters, topics and /cmd_vel.

A velocity counts for a moment only: who stops sending it, stops it. Knows no ROS; time comes in, in
seconds of the monotonic clock, so that no clock step and no simulated time can prolong it.
"""

from __future__ import annotations

import math

from runtime.state import Command

Velocity = tuple[float, float, float]  # vx, vy m/s, wz rad/s; REP 103
STILL: Velocity = (0.0, 0.0, 0.0)


class Wishes:
    """The task, the heading, and a velocity with a time to live."""

    def __init__(self, task: str, heading: float, timeout: float) -> None:
        self.task, self.heading = task, heading
        self.timeout = timeout  # s
        self._velocity, self._until = STILL, -math.inf

    def face(self, heading: float) -> str:
        """Change the heading, rad; return why not, or nothing."""
        if not math.isfinite(heading):
            return f"heading must be a finite angle in rad, got {heading}"
        self.heading = math.remainder(heading, math.tau)
        return ""

    def move(self, velocity: Velocity, now: float) -> str:
        """Wish a velocity for `timeout` s from now; return why not, or nothing."""
        if not all(map(math.isfinite, velocity)):
            self._velocity = STILL
            return f"velocity must be finite numbers, got {velocity}: taken as standing still"
        self._velocity, self._until = velocity, now + self.timeout
        return ""

    def keep(self, velocity: Velocity) -> None:
        """Wish a velocity until another one comes: a slider is still where it was left."""
        self._velocity, self._until = velocity, math.inf

    def velocity(self, now: float) -> Velocity:
        """Return the velocity that is wished now."""
        return self._velocity if now < self._until else STILL

    def step(self, now: float, dt: float) -> Command:
        """Return the wish for a control tick; turning moves the heading by `dt` s of it."""
        velocity = self.velocity(now)
        if velocity[2]:
            self.face(self.heading + velocity[2] * dt)
        return Command(self.task, self.heading, velocity)
