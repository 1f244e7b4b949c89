"""Where a door writes: found out before the work begins, not after it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from training.cli import ConfigError


def prepare_folder(folder: Path, key: str = "out") -> None:
    """Make the folder that `key` names.

    Raises:
        ConfigError: it cannot be made, or nothing can be written to it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"{key}={folder}: expected a folder that can be made and written to ({error})"
        ) from None


def prepare_file(path: Path, key: str = "out") -> None:
    """Make the folder of the file that `key` names.

    Raises:
        ConfigError: it cannot be made or written to, or the name is that of a folder.
    """
    if path.is_dir():
        raise ConfigError(f"{key}={path} is a folder; expected the name of a file")
    prepare_folder(path.parent, key)
