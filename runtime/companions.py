"""The processes beside a run: film maker, window, page. They listen, or ask as a person does."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

from runtime.listen import view_module

FILM_TIMEOUT = 600.0  # s to draw the film after the run
RECORDER = "runtime.recorder"
STDERR = 2  # where the recorder's own line goes: the last line of a run's output is its JSON


def start(
    endpoint: str, *, video: str = "", view: str = "", recorder: tuple[str, ...] = ()
) -> list[subprocess.Popen[bytes]]:
    """Start the film maker, the view and the recorder (its words), if wanted: processes."""
    words = [["runtime.record", f"video={video}"]] if video else []
    words += [[RECORDER, *recorder]] if recorder else []
    module = view_module(view)
    words += [[module]] if module else []
    return [
        subprocess.Popen(
            [sys.executable, "-m", *word, f"endpoint={endpoint}", f"parent={os.getpid()}"],
            start_new_session=True,
            stdout=STDERR if word[0] == RECORDER else None,
        )
        for word in words
    ]


def end(companions: list[subprocess.Popen[bytes]]) -> None:
    """Let the film be drawn; Ctrl-C, now an ordinary one again, leaves it."""
    if not companions:
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for companion in companions:
            if companion.poll() is None:
                companion.send_signal(signal.SIGINT)
        for companion in companions:
            with contextlib.suppress(subprocess.TimeoutExpired):
                companion.wait(FILM_TIMEOUT)
    finally:
        for companion in companions:
            companion.kill()
