"""Draw the curves of a run: python training/plot.py runs/h1_small

Writes <run>/curves/*.svg from metrics.jsonl: returns in training and evaluation, losses, times.
More runs in one call are drawn into the first one's folder, side by side.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

from training.charts import Line, draw

CHARTS = {  # file -> title, beginnings of the metrics' names
    "returns": ("return of training episodes", ("train_return/",)),
    "evaluation": ("return of evaluation episodes", ("eval_",)),
    "losses": ("losses", ("loss",)),
    "values": ("values", ("value_target", "value_error", "search_value")),
    "times": ("ms per part", ("ms_",)),
}
Series = dict[str, list[tuple[float, float]]]


def read(path: Path) -> Series:
    """Return (updates, value) of every metric of a run; half-written lines are left out."""
    series: Series = defaultdict(list)
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        for name, value in row.items():
            if isinstance(value, (int, float)):
                series[name].append((float(row["updates"]), float(value)))
    return series


def plot(runs: list[Path]) -> list[Path]:
    """Draw all charts that the runs have metrics for; return the files."""
    every = {run: read(run / "metrics.jsonl") for run in runs}
    folder = runs[0] / "curves"
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


def main() -> int:
    runs = [Path(word) for word in sys.argv[1:] if not word.startswith("-")]
    if not runs or len(runs) < len(sys.argv) - 1:
        print(__doc__)
        return 0 if len(sys.argv) > 1 else 2
    for run in runs:
        if not (run / "metrics.jsonl").is_file():
            there = sorted(p.name for p in run.iterdir())[:8] if run.is_dir() else "nothing"
            print(f"error: {run} has no metrics.jsonl; it holds {there}", file=sys.stderr)
            return 2
    files = plot(runs)
    print(json.dumps({"runs": [str(run) for run in runs], "files": [str(f) for f in files]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
