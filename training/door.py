"""What all doors have in common: how they end when they are interrupted. Imports nothing heavy."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable

INTERRUPTED = 130  # the shell's own code for it: 128 + SIGINT


def interruptible(then: str) -> Callable[[Callable[[], int]], Callable[[], int]]:
    """Make a door's main end with code 130 and `then`, what remains, when Ctrl-C is pressed."""

    def wrap(main: Callable[[], int]) -> Callable[[], int]:
        @functools.wraps(main)
        def guarded() -> int:
            try:
                return main()
            except KeyboardInterrupt:
                print(f"interrupted; {then}", file=sys.stderr)
                return INTERRUPTED

        return guarded

    return wrap


def reason(error: BaseException) -> str:
    """Return an error's sentence on one line; a KeyError's without its quotes."""
    said = error.args[0] if isinstance(error, KeyError) and error.args else error
    return " ".join(str(said).split()) or type(error).__name__
