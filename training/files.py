"""Files that are replaced in one step, and on the disk before anything relies on them.

Knows nothing of what is in them.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give another name to write a file to, which then replaces `path` in one step.

    Readers see the old file or the new one, also after a crash. Where writing fails the old one
    stays, and nothing else: a full disk gets its room back.
    """
    part = path.with_name(path.name + ".part")
    try:
        yield part
        sync(part)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    os.replace(part, path)
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Replace a file by a text; see `replacing`."""
    with replacing(path) as part:
        part.write_text(text)


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
