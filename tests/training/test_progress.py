"""A bar where somebody watches, lines where nobody does."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from training.progress import Display

ROOT = Path(__file__).parents[2]
SCRIPT = """
import time
from training.progress import Display

with Display(40, 0) as display:
    for updates in range(1, 21):
        display.at(updates)
        if updates % 10 == 0:
            display.line(updates, f"update {updates} loss 1.25", "stand 321/500 walk 45/60")
            print(f"evaluation at {updates}")
        time.sleep(0.1)
"""


def watched(stdout_to_terminal):
    """Run the script with stderr on a terminal; return what the terminal and a file got."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, stderr=theirs, stdin=theirs,
        stdout=theirs if stdout_to_terminal else subprocess.PIPE,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "120", "LINES": "30"},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # Linux says so when the other end is closed
        pass
    os.close(ours)
    written = process.stdout.read() if process.stdout else b""
    assert process.wait() == 0
    colours = re.compile(r"\x1b\[[0-9;]*m")
    return colours.sub("", shown.decode()), written.decode()


def test_a_terminal_shows_a_bar_with_the_time_left_and_the_returns_and_keeps_other_lines():
    shown, _ = watched(stdout_to_terminal=True)
    assert "20/40" in shown
    assert "left 0:00:0" in shown
    assert "stand 321/500 walk 45/60" in shown
    assert "evaluation at 10" in shown and "evaluation at 20" in shown
    assert "loss 1.25" not in shown


def test_a_log_file_beside_the_terminal_gets_every_line_and_no_bar():
    shown, written = watched(stdout_to_terminal=False)
    assert "20/40" in shown
    assert written.count("loss 1.25") == written.count("return/length stand 321/500") == 2
    assert "\x1b" not in written


@pytest.fixture
def clock(monkeypatch):
    """Return a list whose only number is the time."""
    now = [1000.0]
    monkeypatch.setattr("training.progress.time.monotonic", lambda: now[0])
    return now


def test_without_a_terminal_there_are_lines_with_the_time_left_at_the_pace_so_far(clock, capsys):
    with Display(400, 100) as display:  # resumed at 100
        clock[0] += 600.0
        display.at(200)
        display.line(200, "update 200", "walk 5/9")
    printed = capsys.readouterr()
    assert printed.out == "update 200  0:20 left  return/length walk 5/9\n"
    assert printed.err == ""
