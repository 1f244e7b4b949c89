"""What film maker, window and live view share: their names, and a listener that never commands."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from runtime.cli import ConfigError
from runtime.link import LinkError, Reading, RobotClient

VIEWS = {"mujoco": "runtime.viewer", "browser": "runtime.live"}
_NO, _YES = ("", "0", "false", "no", "off", "none"), ("1", "true", "yes", "on")


def view_module(view: str) -> str:
    """Return the module that shows a robot in this way, empty for none; raise ConfigError."""
    word = view.lower()
    if word in _NO:
        return ""
    if word in _YES:
        word = "mujoco"
    if word not in VIEWS:
        raise ConfigError(f"view '{view}' unknown; there are {sorted(VIEWS)} and 0")
    return VIEWS[word]


@dataclass(frozen=True)
class ListenConfig:
    """Where to listen, and how long."""

    endpoint: str = "ipc:///tmp/ezm_h1"  # ZeroMQ address of the robot process
    keys: str = ""  # folder of CURVE keys, for an endpoint that others can reach
    parent: int = 0  # end when this process is gone
    patience: float = 2.0  # s of silence after which the robot process is taken for ended


class Ending:
    """Becomes true by SIGINT, SIGTERM, or when the parent is gone."""

    def __init__(self, parent: int) -> None:
        self._signalled = False
        self._child_of = parent if parent and os.getppid() == parent else 0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: object) -> None:
        self._signalled = True

    def __bool__(self) -> bool:
        return self._signalled or bool(self._child_of and os.getppid() != self._child_of)


def readings(config: ListenConfig, ending: Ending, first: float = 20.0) -> Iterator[Reading]:
    """Yield new readings until the end; the first may take `first` s to come."""
    client = RobotClient(config.endpoint, "listener", key_dir=config.keys)
    seen, silent = False, 0.0
    try:
        while not ending and silent < (config.patience if seen else first):
            try:
                reading = client.wait(0.1)
            except LinkError:
                silent += 0.1
                continue
            seen, silent = True, 0.0
            yield reading
    finally:
        client.close()


def coordinates(reading: Reading) -> np.ndarray | None:
    """Return qpos [26] of a reading, or None if the base position is unknown."""
    state = reading.state
    qpos = np.concatenate([state.base_position, state.orientation, state.joint_position])
    return qpos if bool(np.isfinite(qpos).all()) else None
