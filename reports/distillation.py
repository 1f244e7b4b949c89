"""The report of a distillation, from its card: who scores what, what the rounds and copies gave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from reports import anchors, charts
from reports.page import Part, Plots, Table

NAME = "card.json"


def report(path: Path) -> tuple[str, list[Part], dict[str, Any]]:
    """Return title, parts and the figures of the last line; older cards lack some of it."""
    card = json.loads(path.read_text())
    if "results" not in card:
        raise ValueError(f"{path} is no distillation's card: it has no 'results'")
    tasks = list(next(iter(card["results"].values())))
    parts: list[Part] = [f"**{warning}**" for warning in card.get("warnings", [])]
    parts.append(_about(card))
    parts += ["## Returns", _returns(card, tasks), anchors.NOTE]
    if card.get("retention"):
        parts += ["## What the student kept", _retention(card)]
    rounds = [_rounds(card, task) for task in tasks]
    if any(rounds):
        parts += ["## Student after each round", Plots(rounds)]
    pushes = [_pushes(card, task) for task in tasks]
    if any(pushes):
        parts += ["## Pushes: share of episodes that did not fall", Plots(pushes)]
    parts += ["## The card, in full", *_rest(card)]
    retention = card.get("retention")
    facts = {"kind": "distillation", "name": card.get("name"), "tasks": tasks}
    return f"Distillation: {card.get('name', path.parent.name)}", parts, facts | {"kept": retention}


def _about(card: dict[str, Any]) -> str:
    teacher = card.get("teacher", {})
    return (
        f"{card.get('date', '?')}, commit {card.get('commit', '?')}, seed {card.get('seed', '?')}: "
        f"`{card.get('command', '?')}`. Teacher: {teacher.get('updates', '?')} updates, "
        f"sha256 {str(teacher.get('sha256', '?'))[:12]}."
    )


def _returns(card: dict[str, Any], tasks: list[str]) -> Table:
    rows = []
    for task in tasks:
        for name, by_task in card["results"].items():
            score = by_task.get(task)
            if score is None:
                continue
            count = len(score.get("returns", []))
            rows.append(
                [
                    f"{task}: {name}",
                    f"{score['mean']:.0f} ± {score['std']:.0f}",
                    f"{score['length']:.0f}",
                    f"{score.get('falls', '-')}/{count}",
                    *anchors.cells(task),
                ]
            )
    return Table(("", "return", "length", "falls", *anchors.HEADS), rows)


def _retention(card: dict[str, Any]) -> Table:
    shares = card["retention"]
    first = next(iter(shares.values()))
    names = list(first) if isinstance(first, dict) else [""]
    rows = [
        [task, *(_share(value.get(n) if isinstance(value, dict) else value) for n in names)]
        for task, value in shares.items()
    ]
    return Table(
        ("(student - random) / (teacher - random)", *(f"of {n}" if n else "" for n in names)), rows
    )


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _rounds(card: dict[str, Any], task: str) -> str:
    rounds = card.get("rounds") or []
    if not rounds or not isinstance(rounds[0], dict):
        return ""
    drawn = {
        name: [
            (float(row.get("round", i)), _value(row.get(key), task)) for i, row in enumerate(rounds)
        ]
        for name, key in (("nominal", "returns"), ("randomised", "randomised"))
    }
    drawn = {
        name: points for name, points in drawn.items() if any(v is not None for _, v in points)
    }
    return charts.lines(task, "round", "return", drawn) if drawn else ""


def _value(found: Any, task: str) -> float | None:
    value = found.get(task) if isinstance(found, dict) else None
    return float(value) if isinstance(value, int | float) else None


def _pushes(card: dict[str, Any], task: str) -> str:
    drawn = {
        name: [(float(row["size"]), float(row["share"])) for row in by_task.get(task, [])]
        for name, by_task in (card.get("pushes") or {}).items()
    }
    return charts.lines(task, "push, m/s", "share", drawn) if any(drawn.values()) else ""


def _rest(card: dict[str, Any]) -> list[Part]:
    """Return what has no table of its own, as JSON says it."""
    shown = ("name", "results", "retention", "rounds", "pushes", "warnings")
    rest = {key: value for key, value in card.items() if key not in shown}
    return [Table(("", ""), [(key, f"`{json.dumps(value)[:400]}`") for key, value in rest.items()])]
