"""Imported first by doors that load for seconds: Ctrl-C meanwhile ends with 130, no traceback.

`training.door.interruptible` does it for what comes after.
"""

from __future__ import annotations

import sys
from types import TracebackType


def _hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    print("interrupted; nothing had begun", file=sys.stderr)
    raise SystemExit(130)


sys.excepthook = _hook
