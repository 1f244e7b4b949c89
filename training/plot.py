"""Draw the curves of a run: python training/plot.py runs/h1_small

Writes <run>/curves/*.svg from metrics.jsonl: returns in training and evaluation, losses, times.
More runs in one call are drawn into the first one's folder, side by side.
"""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from training.charts import Line, draw
from training.door import interruptible, reason

CHARTS = {  # file -> title, beginnings of the metrics' names
    "returns": ("return of training episodes", ("train_return/",)),
    "evaluation": ("return of evaluation episodes, planner", ("eval_search/",)),
    "evaluation_mean": ("return of evaluation episodes, policy mean", ("eval_mean/",)),
    "losses": ("losses", ("loss",)),
    "values": ("values", ("value_target", "value_error", "search_value")),
    "times": ("ms per part", ("ms_",)),
    "cosines": ("cosine of two tasks' gradients", ("cosine/",)),
    "shares": ("share of the samples", ("share/",)),
}
Series = dict[str, list[tuple[float, float]]]


def read(path: Path) -> Series:
    """Return (updates, value) of every metric of a run.

    Lines that are half written, no object, or without a number of updates are left out, as are
    values that no chart has a place for: nan and infinity.
    """
    series: Series = defaultdict(list)
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        at = _number(row.get("updates")) if isinstance(row, dict) else None
        if at is None:
            continue
        for name, value in row.items():
            number = _number(value)
            if number is not None:
                series[name].append((at, number))
    return series


def _number(value: Any) -> float | None:
    """Return what a chart has a place for, None for the rest."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def plot(runs: list[Path]) -> list[Path]:
    """Draw all charts that the runs have metrics for; return the files.

    Raises:
        ValueError: they have none; says what they have.
    """
    every = {run: read(run / "metrics.jsonl") for run in runs}
    folder = runs[0] / "curves"
    beginnings = tuple(start for _, starts in CHARTS.values() for start in starts)
    found = sorted({metric for series in every.values() for metric in series})
    if not any(metric.startswith(beginnings) for metric in found):
        raise ValueError(
            f"nothing to draw: {', '.join(f'{run}/metrics.jsonl' for run in runs)} has "
            f"{found[:8] or 'no metrics'}; expected some that begin with {', '.join(beginnings)}"
        )
    folder.mkdir(exist_ok=True)
    files = []
    for name, (title, beginnings) in CHARTS.items():
        lines = [
            Line(f"{run.name} {metric}" if len(runs) > 1 else metric, points)
            for run, series in every.items()
            for metric, points in sorted(series.items())
            if metric.startswith(beginnings)
        ]
        if lines:
            files.append(folder / f"{name}.svg")
            draw(files[-1], title, "updates", "", lines)
    return files


@interruptible("the same command draws again")
def main() -> int:
    """Read the words and draw."""
    runs = [Path(word) for word in sys.argv[1:] if not word.startswith("-")]
    if not runs or len(runs) < len(sys.argv) - 1:
        print(__doc__)
        return 0 if len(sys.argv) > 1 else 2
    for run in runs:
        if not (run / "metrics.jsonl").is_file():
            there = sorted(p.name for p in run.iterdir())[:8] if run.is_dir() else "nothing"
            print(f"error: {run} has no metrics.jsonl; it holds {there}", file=sys.stderr)
            return 2
    try:
        files = plot(runs)
    except (ValueError, OSError) as error:
        print(f"error: {reason(error)}", file=sys.stderr)
        return 2
    print(json.dumps({"runs": [str(run) for run in runs], "files": [str(f) for f in files]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
