"""The report of training runs: one folder, or several seeds of the same thing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reports import anchors, charts
from reports.page import Part, Plots, Table

Rows = list[dict[str, Any]]
EVALUATIONS = ("eval_search", "eval_mean", "eval")  # search, the policy's mean, a demonstrator's
EPISODES = ("train_return", "return")  # of collected episodes, with exploration
LENGTHS = ("train_length", "length")


def is_run(folder: Path) -> bool:
    """True if a training run left this folder."""
    return (folder / "metrics.jsonl").is_file()


def read(folder: Path) -> tuple[dict[str, Any], Rows]:
    """Return configuration and metrics; a last line cut short by an interruption is left out."""
    rows: Rows = []
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    path = folder / "config.json"
    config = json.loads(path.read_text()) if path.is_file() else {}
    return config.get("config", config), rows


def report(folders: Sequence[Path]) -> tuple[str, list[Part], dict[str, Any]]:
    """Return title, parts and the figures of the last line."""
    runs = {folder.name: read(folder) for folder in folders}
    empty = [name for name, (_, rows) in runs.items() if not rows]
    if empty:
        raise ValueError(f"metrics.jsonl of {', '.join(empty)} has no whole line yet")
    keys = sorted({key for _, rows in runs.values() for row in rows for key in row})
    scores = (*EVALUATIONS, *EPISODES, *LENGTHS)
    tasks = sorted({key.partition("/")[2] for key in keys if key.partition("/")[0] in scores})
    parts: list[Part] = [_about(runs), "## Returns", _table(runs, tasks), anchors.NOTE]
    for heading, names in (("Evaluations", EVALUATIONS), ("Episodes while training", EPISODES),
                           ("Their length, steps", LENGTHS)):  # fmt: skip
        drawn = [plot for task in tasks for plot in _curves(runs, task, names)]
        if drawn:
            parts += [f"## {heading}", Plots(drawn)]
    counters = ("updates", "steps", "time")
    rest = [key for key in keys if key not in counters and key.partition("/")[0] not in scores]
    drawn = [charts.lines(key, "updates", key, charts.with_mean(series(runs, key))) for key in rest]
    parts += ["## Everything else that was logged", Plots([plot for plot in drawn if plot])]
    title = f"Training: {', '.join(runs)}"
    return title, parts, {"kind": "training", "runs": list(runs), "tasks": tasks}


def series(runs: dict[str, Any], key: str) -> dict[str, list[tuple[float, float]]]:
    """Return a key's (updates, value) by run, where it was logged."""
    found = {
        name: [(float(row["updates"]), float(row[key])) for row in rows
               if isinstance(row.get(key), int | float) and "updates" in row]
        for name, (_, rows) in runs.items()
    }  # fmt: skip
    return {name: points for name, points in found.items() if points}


def _curves(runs: dict[str, Any], task: str, names: Sequence[str]) -> list[str]:
    plots = []
    for name in names:
        found = series(runs, f"{name}/{task}")
        if not found:
            continue
        if name in (*EPISODES, *LENGTHS):
            found = {run: charts.smooth(points) for run, points in found.items()}
        plots.append(charts.lines(f"{task}: {name}", "updates", name, charts.with_mean(found)))
    return plots


def _about(runs: dict[str, Any]) -> Table:
    rows = []
    for name, (config, metrics) in runs.items():
        last = metrics[-1]
        hours = (last["time"] - metrics[0]["time"]) / 3600.0 if "time" in last else None
        rows.append(
            [
                name,
                str(config.get("preset", "-")),
                ", ".join(config.get("tasks", [])) or "-",
                str(config.get("seed", "-")),
                str(last.get("updates", "-")),
                str(max((row.get("steps", 0) for row in metrics), default=0)),
                "-" if hours is None else f"{hours:.2f}",
            ]
        )
    return Table(
        ("run", "preset", "tasks", "seed", "updates", "steps", "hours, from the log"), rows
    )


def _table(runs: dict[str, Any], tasks: Sequence[str]) -> Table:
    rows = []
    for task in tasks:
        for name in (*EVALUATIONS, *EPISODES):
            found = series(runs, f"{name}/{task}")
            if not found:
                continue
            last = [points[-1][1] for points in found.values()]
            best = [max(value for _, value in points) for points in found.values()]
            mean = sum(last) / len(last)
            spread = f" ({min(last):.0f} … {max(last):.0f})" if len(last) > 1 else ""
            rows.append(
                [
                    f"{task}: {name}",
                    f"{mean:.0f}{spread}",
                    f"{max(best):.0f}",
                    str(len(found)),
                    *anchors.cells(task),
                ]
            )
    return Table(("task", "last", "best seen", "seeds", *anchors.HEADS), rows)
