"""What the robot process answers to requests: who may ask for what, and why not.

ESTOP is anybody's, everything else the holder's of the lease. Limits are tightened at any time and
loosened in ZERO_TORQUE only. Knows no socket.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from runtime.cli import ConfigError, parse
from runtime.frames import Verb
from runtime.modes import Mode
from runtime.server_link import Request
from runtime.spec import SPEC_VERSION

if TYPE_CHECKING:
    from runtime.robot_server import RobotServer

Answer = tuple[bool, str]  # granted, why not


def answer(server: RobotServer, request: Request, now: float) -> Answer:
    """Carry out a request, or say why not; a mistake of ours in it must not end the process."""
    try:
        return carry_out(server, request, now)
    except Exception as error:  # whatever it is: the drives need their next write
        return False, f"{request.verb.name}: {type(error).__name__}: {error}"


def carry_out(server: RobotServer, request: Request, now: float) -> Answer:
    """Carry out a request; return whether it was granted, and why not."""
    if request.verb is Verb.MODE and request.argument == Mode.ESTOP:
        return server.machine.request(Mode.ESTOP, now)
    if server.closing:
        return False, f"the robot process is ending: {server.machine.reason}"
    if request.verb is Verb.ACQUIRE:
        return _acquire(server, request, now)
    if not server.link.holds(request.peer, now):
        holder = server.link.commander(now)
        who = f"'{holder}' commands this robot" if holder else "acquire the lease first"
        return False, f"{request.verb.name}: {who}"
    if request.verb is Verb.RELEASE:
        server.link.drop()
        server.machine.stop(now, "released")
        return True, ""
    if request.verb is Verb.TASK:
        server.task = request.text
        setattr(server.robot, "task", request.text)  # noqa: B010 a real robot ignores it
        return True, ""
    if request.verb is Verb.PUSH:
        return _push(server, request.text)
    if request.verb is Verb.LIMIT:
        return _limit(server, request.text)
    if request.verb is not Verb.MODE:
        return False, f"{request.verb.name} is asked of a control loop, not of the robot"
    return _mode(server, request.argument, now)


def _acquire(server: RobotServer, request: Request, now: float) -> Answer:
    """Grant the lease; the argument is the PolicySpec version that was loaded and verified, or 0.

    Targets mean what the spec says they mean: another version is another language.
    """
    if request.argument not in (0, SPEC_VERSION):
        return False, (
            f"PolicySpec version {request.argument}, this robot process knows {SPEC_VERSION}"
        )
    again = server.link.holds(request.peer, now)
    granted, reason = server.link.lease(request, now)
    if granted:
        server.verified = request.argument == SPEC_VERSION
        if not (again and server.verified):
            server.machine.hand_over(now)
    return granted, reason


def _mode(server: RobotServer, argument: int, now: float) -> Answer:
    if argument not in Mode._value2member_map_:
        return False, f"mode {argument} unknown; there are {[mode.name for mode in Mode]}"
    if argument == Mode.POLICY and not server.verified:
        return False, "POLICY needs a loaded and verified policy: acquire the lease with its spec"
    return server.machine.request(Mode(argument), now)


def _push(server: RobotServer, text: str) -> Answer:
    push = getattr(server.robot, "push", None)
    if push is None:
        return False, f"PUSH: robot={server.config.robot} is not simulated"
    try:
        *force, seconds = (float(word) for word in text.split())
        return push(np.array(force), seconds)
    except ValueError:
        return False, f"PUSH '{text}': expected force in N (x y z) and seconds"


def _limit(server: RobotServer, text: str) -> Answer:
    """Change limits: `key=value` words of GuardConfig."""
    try:
        config = parse(server.guard.config, text.split())
    except ConfigError as error:
        return False, str(error)
    return server.guard.change(config, configuring=server.machine.mode is Mode.ZERO_TORQUE)
