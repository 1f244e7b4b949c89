"""A control loop to be killed: `python -m runtime.faults.commander endpoint policy`."""

from __future__ import annotations

import sys
import time

from runtime.link import RobotClient
from runtime.loop import ControlLoop
from runtime.modes import Mode
from runtime.policy import load_policy
from runtime.realtime import REST, ask_for_realtime
from runtime.state import Command


def main() -> None:
    """Take the robot into POLICY and keep it there until killed."""
    endpoint, path = sys.argv[1:]
    ask_for_realtime(REST)
    policy = load_policy(path)
    client = RobotClient(endpoint, "commander")
    client.wait(30.0)
    loop = ControlLoop(policy, client, Command(policy.spec.tasks[0]))
    granted, reason = client.acquire(policy.spec)
    if not granted:
        sys.exit(reason)
    loop.start()
    client.request_mode(Mode.POLICY)
    while loop.running:
        time.sleep(0.1)
    sys.exit(loop.error)


if __name__ == "__main__":
    main()
