"""Averages between log lines, and the metrics file; knows nothing of training.

Where the package tensorboard is installed, the same numbers go to <run>/tensorboard.
"""

import importlib
import importlib.util
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from training.files import write_text


class Averages:
    """Running means by name, emptied when read."""

    def __init__(self) -> None:
        self._sum: dict[str, float] = defaultdict(float)
        self._count: dict[str, int] = defaultdict(int)

    def add(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._sum[name] += value
            self._count[name] += 1

    def take(self) -> dict[str, float]:
        """Return the means since the last call."""
        means = {name: self._sum[name] / self._count[name] for name in self._sum}
        self._sum.clear()
        self._count.clear()
        return means

    def state(self) -> dict[str, list[float]]:
        """Return what `load` takes, for JSON: name -> sum and count."""
        return {name: [self._sum[name], self._count[name]] for name in self._sum}

    def load(self, state: dict[str, list[float]]) -> None:
        """Go on from a saved state; an empty one, of an older run, begins anew."""
        for name, (total, count) in state.items():
            self._sum[name], self._count[name] = total, int(count)


class MetricsFile:
    """Appends one JSON object per line; a resumed run drops lines past its checkpoint.

    names: what the lines at that checkpoint hold, those of its evaluation among them.
    """

    def __init__(self, path: Path, resume_at: int):
        self.path, self.resumed_at, self.names = path, resume_at, set[str]()
        if path.exists():
            text = path.read_text()
            kept = [line for line in text.splitlines() if _updates(line) <= resume_at]
            whole = "".join(f"{line}\n" for line in kept)
            if whole != text:
                write_text(path, whole)
            here = [line for line in kept if _updates(line) == resume_at]
            self.names = {name for line in here for name in json.loads(line)}
        self.board = tensorboard_writer(path.parent / "tensorboard", resume_at)

    def write(self, row: dict[str, Any]) -> None:
        rounded = {k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()}
        with self.path.open("a") as file:
            file.write(json.dumps(rounded) + "\n")
        if self.board is not None:
            for name, value in row.items():
                if isinstance(value, (int, float)) and name not in ("updates", "time"):
                    self.board.add_scalar(name, value, row["updates"], row.get("time"))
            self.board.flush()


def tensorboard_writer(folder: Path, resume_at: int) -> Any:
    """Return torch's SummaryWriter, which hides what a resumed run takes back; None without it."""
    if importlib.util.find_spec("tensorboard") is None:
        return None
    writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter
    return writer(str(folder), purge_step=resume_at + 1)


def _updates(line: str) -> float:
    try:
        return float(json.loads(line)["updates"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # cut short by an interruption
