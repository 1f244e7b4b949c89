"""Files that are replaced in one step, and on the disk before anything relies on them.

Knows nothing of what is in them.
"""

import contextlib
import os
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Replace a file in one step: readers see the old text or the new one, also after a crash."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    sync(part)
    os.replace(part, path)
    sync_folder(path.parent)


def sync(path: Path) -> None:
    """Wait until a file's content is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk, where the file system can do that."""
    with contextlib.suppress(OSError):
        sync(path)
