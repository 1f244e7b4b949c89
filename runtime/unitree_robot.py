"""The real H1 behind `Robot`: CycloneDDS 0.10.x, rt/lowstate in, rt/lowcmd out.

Messages stay bytes: nothing here builds an object tree per message (see `unitree_frames`). Tested
against a double on loopback and against Unitree's simulator, not on a robot. It commands only while
nobody else does: the robot's own motion program must have been released, and is watched. A drive's
own timeout after the last command is unknown: measure it hanging.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import time

from runtime import unitree_frames as frames
from runtime.robot import Health, RobotError
from runtime.state import JointTargets, RobotState
from runtime.unitree_api import RELEASE_MODE, MotionSwitcher, SwitcherError
from runtime.unitree_dds import COMMANDS, LEASE, STATES, Others, join, reader, writer
from runtime.unitree_idl import LowCmd, LowState

STOP_BUTTONS = frozenset({"select", "B"})
DISCOVERY = 0.5  # s in which another commander makes itself known
CHECK_EVERY = 1.0  # s between two questions whether the motion program is back
HEALTH_EVERY = 25  # reads between two looks at temperatures and battery
MOTION = ("check", "release", "ignore")


class UnitreeRobot:
    """The H1 on one network interface.

    motion: what to do about the robot's own motion program. `check` refuses to start while there is
    one, `release` ends it (the robot goes limp: hang it first), `ignore` does not ask: for robots
    without a motion switcher, put into low-level mode by hand.

    The IMU's yaw is counted from wherever it was switched on, the policy's from where the robot
    faces: until POLICY is entered the yaw reads 0, from then on how far it has turned since.
    """

    fallen = False  # tilt is the guard's business; nobody measures height here

    def __init__(
        self, interface: str, *, domain: int = 0, motion: str = "check", patience: float = 5.0
    ) -> None:
        if motion not in MOTION:
            raise RobotError(f"motion={motion}: expected one of {list(MOTION)}")
        self._participant = join(interface, domain)
        try:
            self._open(motion, patience)
        except RobotError:
            self.close()
            raise

    def _open(self, motion: str, patience: float) -> None:
        self._reader = reader(self._participant, STATES, LowState)
        self._others = Others(self._participant, COMMANDS, LowCmd)
        self._command = frames.CommandFrame()
        self._state: RobotState | None = None
        self._payload = b""  # the newest whole one
        self._tick = b""  # of the newest one
        self._facing: float | None = None  # rad, the IMU's yaw that reads 0; None: any does
        self.broken = self.frozen = 0  # states of wrong size or CRC; states whose tick stood still
        self._broken_run = 0
        self.alarm = ""  # why to stop at once: the remote, a motor, another commander
        self._reads, self._asked = 0, 0.0
        self._wait(patience)
        self._motion = motion
        self._switcher = None if motion == "ignore" else MotionSwitcher(self._participant)
        self.released = self._free_the_drives(patience)  # names of the programs that were ended
        time.sleep(DISCOVERY)
        if self._others.count:
            raise RobotError(
                f"somebody else publishes {COMMANDS}: the motion service or another program "
                f"({self._others.count} in all; one that was killed counts for {LEASE} s). "
                "Put the robot into low-level mode (L2+R2) and end the others first"
            )
        self._writer = writer(self._participant, COMMANDS, LowCmd)
        self.health = frames.health(self._payload, self.broken, self._broken_run)

    def read(self) -> RobotState:
        """Return the newest whole state; its stamp tells how old it is."""
        now = time.monotonic()
        alarm = ""
        for sample in self._reader.take(8):
            payload = getattr(sample, "raw", b"")
            if not frames.is_whole(payload):
                self.broken += 1
                self._broken_run += 1
                continue
            self._broken_run = 0
            if self._stands_still(payload):
                self.frozen += 1
                continue
            self._payload = payload
            self._state = frames.robot_state(payload, now, self._facing)
            pressed = frames.buttons(payload) & STOP_BUTTONS
            if pressed:
                alarm = f"remote: {', '.join(sorted(pressed))}"
        self._reads += 1
        broken = self.broken, self._broken_run
        if self._reads % HEALTH_EVERY == 0:
            self.health = frames.health(self._payload, *broken)
        elif broken != (self.health.broken, self.health.broken_run):
            last = self.health
            self.health = Health(last.temperature, last.lost, last.battery, *broken)
        self.alarm = alarm or frames.motor_faults(self._payload) or self._others_alarm(now)
        assert self._state is not None
        return self._state

    def write(self, targets: JointTargets, ticks: int = 1) -> None:
        """Send the targets; the drives evaluate them until the next ones."""
        self._command.fill(targets)
        self._writer.write(LowCmd.deserialize(self._command.payload()))

    def other_commanders(self) -> int:
        """Return how many writers of rt/lowcmd there are besides this one."""
        return self._others.count

    def place(self) -> None:
        """The gantry and the people at it do that; where the robot faces is ahead."""
        self._facing = None

    def catch(self) -> None:
        """The gantry and the people at it do that; where the robot faces is ahead."""
        self._facing = None

    def release(self) -> None:
        """The gantry and the people at it do that; ahead is now where the robot faced."""
        self._facing = frames.facing_of(self._payload)

    def close(self) -> None:
        """Leave the domain."""
        for name in ("_writer", "_reader", "_others", "_switcher", "_participant"):
            self.__dict__.pop(name, None)

    def _wait(self, patience: float) -> None:
        deadline, hint = time.monotonic() + patience, ""
        while time.monotonic() < deadline:
            for sample in self._reader.take(1):
                payload = getattr(sample, "raw", b"")
                if frames.is_whole(payload):
                    self._payload = payload
                    self._state = frames.robot_state(payload, time.monotonic(), self._facing)
                    return
                self.broken += 1
                if frames.has_no_crc(payload):
                    hint = ", without a CRC, as unitree_mujoco's are"
            time.sleep(0.01)
        raise RobotError(
            f"no whole {STATES} within {patience:g} s ({self.broken} broken ones{hint})"
        )

    def _free_the_drives(self, patience: float) -> list[str]:
        if self._switcher is None:
            return []
        try:
            if self._motion == "release":
                return self._switcher.release(2.0 * patience)
            active = self._switcher.active_program(patience)
        except SwitcherError as error:
            raise RobotError(
                f"cannot tell whether the robot's own motion program is off: {error}. If this "
                "robot has no motion switcher, put it into low-level mode (L2+R2) and say "
                "motion=ignore"
            ) from None
        if active:
            raise RobotError(
                f"the robot's own motion program '{active}' is active. Hang the robot, then say "
                "motion=release (it goes limp), or end the program with the remote (L2+R2)"
            )
        return []

    def _stands_still(self, payload: bytes) -> bool:
        """Return True if a state is the last one once more; a tick that is 0 is not kept at all."""
        tick, self._tick = self._tick, payload[1100:1104]
        return tick == self._tick and any(tick)

    def _others_alarm(self, now: float) -> str:
        """Say who else wants the drives, without waiting; the motion program is released again."""
        if self._others.count or self._others.heard():
            return f"another publisher on {COMMANDS}"
        switcher = self._switcher
        if switcher is None:
            return ""
        if now - self._asked >= CHECK_EVERY:
            self._asked = now
            if switcher.active and self._motion == "release":
                switcher.ask(RELEASE_MODE)
            switcher.ask()
        back = switcher.watch()
        return f"motion program '{back}' is back" if back else ""
