"""Whether the process that started this one is still there. Zombies are not."""

from __future__ import annotations

import os
from pathlib import Path


class Lifeline:
    """Watches the process `pid`, a parent or any other; 0 watches nobody.

    A pid alone is not enough: a dead process may linger as a zombie, and its number may be given
    to another one. Linux tells the state and the start time of a process apart.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._is_child = pid != 0 and os.getppid() == pid
        self._born = _state_and_birth(pid)[1] if pid else ""

    def holds(self) -> bool:
        """Return False once the process is gone."""
        if self.pid == 0:
            return True
        if self._is_child and os.getppid() != self.pid:
            return False
        state, born = _state_and_birth(self.pid)
        return state not in ("", "Z", "X") and born == self._born


def _state_and_birth(pid: int) -> tuple[str, str]:
    """Return the state letter and the start time of a process; empty ones if there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return fields[0], fields[19]
    except (OSError, IndexError):
        return _answers(pid), ""


def _answers(pid: int) -> str:
    """Return a letter for a process where there is no /proc to read."""
    if Path("/proc/self/stat").exists():
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "?"
