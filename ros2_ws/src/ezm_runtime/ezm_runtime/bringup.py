"""Robot process and policy node without `ros2 launch`: `python -m ezm_runtime.bringup --help`.

This door only catches signals before the slow imports begin, so that Ctrl-C ends things in order
at every stage. The work is in `ezm_runtime.session`.
"""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the line; the last line on stdout is JSON."""
    signals: list[int] = []

    def note(number: int, frame: object) -> None:
        signals.append(number)
        if len(signals) > 2:  # the person means it
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)
    from ezm_runtime.session import run

    sys.exit(run(sys.argv[1:], signals))


if __name__ == "__main__":
    main()
