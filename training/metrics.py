"""Averages between log lines, and the metrics file; knows nothing of training.

Where the package tensorboard is installed, the same numbers go to <run>/tensorboard.
"""

import importlib
import importlib.util
import json
from collections import defaultdict
from pathlib import Path
from typing import Any


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


class MetricsFile:
    """Appends one JSON object per line; a resumed run drops lines past its checkpoint."""

    def __init__(self, path: Path, resume_at: int):
        self.path = path
        if path.exists():
            kept = [line for line in path.read_text().splitlines() if _updates(line) <= resume_at]
            path.write_text("".join(f"{line}\n" for line in kept))
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
