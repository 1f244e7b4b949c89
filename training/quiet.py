"""Imported first by doors that load for seconds: Ctrl-C meanwhile ends with 130, no traceback.

`training.door.interruptible` does it for what comes after. Only where python was started on a door
of this folder: who imports one as a module keeps an excepthook of their own.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType


def _hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    print("interrupted; nothing had begun", file=sys.stderr)
    raise SystemExit(130)


_started = getattr(sys.modules.get("__main__"), "__file__", None)
if _started and Path(_started).resolve().parent == Path(__file__).resolve().parent:
    sys.excepthook = _hook
