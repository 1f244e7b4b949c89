"""What a run shows while it trains: a bar on a terminal, lines everywhere else."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column


class Display:
    """A bar of updates with time left and returns, where stderr is a terminal; lines on stdout.

    The lines that repeat themselves (`line`) are left out where the bar stands on the same
    terminal; a stdout that goes to a file gets them all.
    """

    def __init__(self, total: int, updates: int):
        """Show a run of `total` updates that has done `updates`; begin its clock."""
        self.total, self.first, self.began = total, updates, time.monotonic()
        self.bar = None

    def __enter__(self) -> Display:
        if sys.stderr.isatty():
            together = sys.stdout.isatty()
            rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")  # of the terminal's width
            self.bar = Progress(
                TextColumn("update"), BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn(),
                TextColumn("left"), TimeRemainingColumn(),
                TextColumn("{task.fields[returns]}", markup=False, table_column=rest), expand=True,
                console=Console(stderr=True), refresh_per_second=2, speed_estimate_period=120,
                redirect_stdout=together, redirect_stderr=together,
            )  # fmt: skip
            self.task = self.bar.add_task("", total=self.total, completed=self.first, returns="")
            self.bar.start()
            self.lines = not together
        else:
            self.lines = True
        return self

    def __exit__(self, *_) -> None:
        if self.bar is not None:
            self.bar.stop()

    def at(self, updates: int) -> None:
        """Move the bar."""
        if self.bar is not None:
            self.bar.update(self.task, completed=updates)

    def line(self, updates: int, text: str, returns: str) -> None:
        """Show that `updates` are done: a line with the time left, or the returns at the bar."""
        if self.bar is not None:
            self.bar.update(self.task, returns=returns)
        if self.bar is None or self.lines:
            print(f"{text}  {self.time_left(updates)} left  return/length {returns}", flush=True)

    def time_left(self, updates: int) -> str:
        """Return hours and minutes to the last update, at the pace since the clock began."""
        pace = (time.monotonic() - self.began) / max(updates - self.first, 1)
        minutes = round(pace * (self.total - updates) / 60)
        return f"{minutes // 60}:{minutes % 60:02d}"
