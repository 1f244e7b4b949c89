"""Whether the process that started this one is still there."""

from __future__ import annotations

import os

_FIRST_PARENT = os.getppid()


def alive(pid: int) -> bool:
    """Return False once process `pid` is gone."""
    if pid == _FIRST_PARENT:  # a dead parent may linger as a zombie, but it is no parent any more
        return os.getppid() == pid
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
