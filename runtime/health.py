"""Say whether a robot process is alive: `python -m runtime.health endpoint=ipc:///run/ezm/h1`.

For a container's health check and for scripts: exit code 0 if a state arrived in time, 1 if not.
Healthy means that the process reads and writes, in whatever mode, an ESTOP among them.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from runtime.cli import parse_or_exit
from runtime.keys import KeyFileError
from runtime.link import LinkError, RobotClient

ENDPOINT = "EZM_ENDPOINT"  # the environment variable that images set


@dataclass(frozen=True)
class HealthConfig:
    """Whom to ask, and how long to wait."""

    endpoint: str = "ipc:///tmp/ezm_h1"  # ZeroMQ address; $EZM_ENDPOINT, if set
    keys: str = ""  # folder of CURVE keys, for an endpoint that others can reach
    patience: float = 2.0  # s to wait for a state


def main() -> None:
    """Listen for one state and say what it says."""
    base = HealthConfig(endpoint=os.environ.get(ENDPOINT, HealthConfig.endpoint))
    config = parse_or_exit(base, sys.argv[1:], "runtime.health", __doc__ or "")
    try:
        client = RobotClient(config.endpoint, "health", key_dir=config.keys)
    except (LinkError, KeyFileError) as error:
        sys.exit(f"runtime.health: {error}")
    try:
        reading = client.wait(config.patience)
    except LinkError:
        sys.exit(f"runtime.health: nothing from {config.endpoint} within {config.patience:g} s")
    finally:
        client.close()
    fault = f", {reading.fault}" if reading.fault else ""
    print(f"{reading.mode.name}{fault}; tick {reading.tick_us:.0f} us, falls {reading.falls}")


if __name__ == "__main__":
    main()
