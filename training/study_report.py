"""Tables and charts of a study's results."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.charts import Line, draw
from training.gradients import MODULES
from training.study_runs import Result

Facts = dict[str, Any]


def report(what: str, results: Sequence[Result], chart: Path) -> Facts:
    """Print the table of a study (Markdown), draw its chart, return its figures."""
    results = compared(results)
    labels = list(dict.fromkeys(result.run.label for result in results))
    groups = {label: [r for r in results if r.run.label == label] for label in labels}
    ways = list(dict.fromkeys(way for result in results for way in result.scores))
    rows: list[Facts] = []
    for label, members in groups.items():
        row: Facts = {"label": label, "runs": len(members), "steps_per_task": members[0].steps}
        for way in ways:
            if all(way in member.scores for member in members):
                row[way], row[f"{way} ±"] = spread_over_seeds(members, way)
        if what == "tasks":
            row |= {f"cosine {m}": _mean(r.last(f"cosine/{m}") for r in members) for m in MODULES}
        if what == "levers":
            row |= bill(members)
        if what == "demos":
            row |= {"updates": members[0].run.config.updates}
        rows.append(row)
    print(table(rows))
    print()
    print(by_task(groups, ways[0]))
    try:
        DRAW[what](groups, chart)
        drawn = chart.name
    except ValueError as error:  # runs too short for a line of metrics
        print(f"\nno chart: {error}")
        drawn = None
    commits = sorted({result.git for result in results})
    return {"git": commits, "rows": [_rounded(row) for row in rows], "chart": drawn}


def bill(members: Sequence[Result]) -> Facts:
    """Return what runs of one setting did: updates, searches of each for targets, CPU-seconds."""
    return {
        "updates": members[0].run.config.updates,
        "searches per update": _mean(member.last("searches") for member in members),
        "CPU-s": _mean(m.cpu_seconds for m in members if m.cpu_seconds is not None),
    }


def compared(results: Sequence[Result]) -> list[Result]:
    """Return results with the scores of the tasks that every label has."""
    tasks: dict[str, set[str]] = {}
    for result in results:
        tasks.setdefault(result.run.label, set()).update(result.run.config.tasks)
    common = set.intersection(*tasks.values())
    kept = []
    for result in results:
        scores = {
            way: {task: value for task, value in by_task.items() if task in common}
            for way, by_task in result.scores.items()
        }
        kept.append(dataclasses.replace(result, scores=scores))
    return kept


def spread_over_seeds(members: Sequence[Result], way: str) -> tuple[float, float]:
    """Return the mean over all tasks and seeds, and the standard deviation of the seeds' means."""
    seeds: dict[int, list[float]] = {}
    for result in members:
        seeds.setdefault(result.run.config.seed, []).extend(result.scores[way].values())
    means = [float(np.mean(values)) for values in seeds.values()]
    return float(np.mean(means)), float(np.std(means))


def _mean(values) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def _rounded(row: Facts) -> Facts:
    """Return figures as JSON has them: three decimals, and null for what is not there."""
    return {
        key: (round(value, 3) if np.isfinite(value) else None)
        if isinstance(value, float)
        else value
        for key, value in row.items()
    }


def table(rows: Sequence[Facts]) -> str:
    """Return rows as a Markdown table; a column `<name> ±` goes beside its mean."""
    names = [name for row in rows for name in row if not name.endswith(" ±")]
    names = list(dict.fromkeys(names))
    lines = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    for row in rows:
        cells = []
        for name in names:
            value, spread = row.get(name, float("nan")), row.get(f"{name} ±")
            text = f"{value:.2f}" if isinstance(value, float) else str(value)
            text = "" if text == "nan" else text
            cells.append(f"{text} ± {spread:.2f}" if spread is not None else text)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def by_task(groups: dict[str, list[Result]], way: str) -> str:
    """Return the mean score of every task as a Markdown table, one column a label."""
    tasks = list(dict.fromkeys(t for rs in groups.values() for r in rs for t in r.scores[way]))
    rows = [
        {"task": task}
        | {
            label: _mean(r.scores[way][task] for r in members if task in r.scores[way])
            for label, members in groups.items()
        }
        for task in tasks
    ]
    return table(rows)


def draw_counts(groups: dict[str, list[Result]], chart: Path) -> None:
    """Draw score against the number of tasks trained together."""
    lines = []
    for way, name in (("search", "with search"), ("mean", "policy mean")):
        found = {int(label): spread_over_seeds(rs, way) for label, rs in groups.items()}
        points = [(float(count), mean) for count, (mean, _) in found.items()]
        lines.append(Line(name, points, [spread for _, spread in found.values()]))
    marks = [float(label) for label in groups]
    draw(chart, "Equal samples per task", "tasks trained together",
         "score (0 random, 1 perfect or the bar)", lines, (0.0, 1.0), marks)  # fmt: skip


def draw_shares(groups: dict[str, list[Result]], chart: Path) -> None:
    """Draw the mean return of the finished training episodes against updates on own experience."""
    lines = []
    for label, members in groups.items():
        at: dict[float, list[float]] = {}
        for result in members:
            config = result.run.config
            before = config.imitation.pretrain if config.demos else 0
            for task in config.tasks:
                for updates, value in result.curves.get(f"train_return/{task}", []):
                    at.setdefault(updates - before, []).append(value)
        lines.append(Line(label, [(x, float(np.mean(at[x]))) for x in sorted(at)]))
    lines = [line for line in lines if line.points]  # one without steps has none
    title, below = "Training return, mean over tasks", "updates on own experience"
    draw(chart, title, below, "return", lines)


def draw_tasks(groups: dict[str, list[Result]], chart: Path) -> None:
    """Draw the score of every task, by label and way of acting."""
    lines = []
    for label, members in groups.items():
        for way in members[0].scores:
            tasks = members[0].run.config.tasks
            points = [
                (float(number), _mean(r.scores[way][task] for r in members))
                for number, task in enumerate(tasks)
                if task in members[0].scores[way]
            ]
            lines.append(Line(f"{label}, {way}", points))
    draw(chart, "Score by task", "number of the task", "score", lines, (0.0, 1.0))


DRAW = {
    "tasks": draw_counts, "scheduler": draw_shares, "language": draw_tasks, "levers": draw_shares,
    "demos": draw_shares,
}  # fmt: skip
