"""One process per run folder: two would write each other's metrics and checkpoints."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from training.cli import ConfigError


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a run folder, which is made if need be; the system lets go of a dead process's.

    Raises:
        ConfigError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"out={folder}: another process trains there; wait for it, or give another out="
            ) from None
        yield
