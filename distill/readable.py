"""A card as a page to read: report.md and report.html, with plots; every figure is the card's."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from distill.plots import line_plot
from training.files import write_text
from training.tasks import task as known_task

Card = dict[str, Any]
Table = tuple[Sequence[str], Sequence[Sequence[str]]]  # heads, rows
Part = str | Table  # a paragraph, a heading ("# …"), a plot ("<svg …") or a table

STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{border:1px solid #d0d7de;padding:.25rem "
    ".6rem;text-align:right}td:first-child,th:first-child{text-align:left}"
)


def write_reports(folder: Path, card: Card) -> None:
    """Write report.md (with its plots beside it) and report.html (with them inside)."""
    parts = content(card)
    plots = folder / "plots"
    plots.mkdir(exist_ok=True)
    lines: list[str] = []
    number = 0
    for part in parts:
        if isinstance(part, str) and part.startswith("<svg"):
            write_text(plots / f"{number}.svg", part + "\n")
            lines.append(f"![plot](plots/{number}.svg)")
            number += 1
        else:
            lines.append(part if isinstance(part, str) else markdown_table(part))
    write_text(folder / "report.md", "\n\n".join(lines) + "\n")
    body = "\n".join(_html(part) for part in parts)
    page = f"<!doctype html>\n<meta charset='utf-8'>\n<title>{escape(card['name'])}</title>\n"
    write_text(folder / "report.html", f"{page}<style>{STYLE}</style>\n{body}\n")


def content(card: Card) -> list[Part]:
    """Return the report, part by part; a student that loses to random is its first line."""
    tasks = list(card["retention"])
    parts: list[Part] = [*card["warnings"], f"# {card['name']}", facts(card)]
    parts += ["## Returns", "Mean ± standard deviation; falls of all episodes.", returns(card)]
    parts += ["## Retention", "(student - random) / (teacher - random).", kept(card)]
    parts += ["## How the joints work", effort_note(), effort(card)]
    if card.get("pushes"):
        parts.append("## Pushes")
        parts.append(card["protocol"]["pushes"] + ".")
        for task in tasks:
            series = {
                name: [(row["size"], row["share"]) for row in by_task[task]]
                for name, by_task in card["pushes"].items()
            }
            title = f"{task}: share recovered"
            parts.append(line_plot(title, "push, m/s", "share", {k: v for k, v in series.items()}))
        parts.append(push_table(card))
    if any(card.get("turns", {}).values()):
        parts += ["## Changes of task", card["protocol"]["turns"] + ".", turn_table(card)]
    averaged = card.get("config", {}).get("fit", {}).get("average", 0)
    whose = f"the mean of the {averaged} students up to" if averaged else "the student of"
    parts += ["## Rounds", f"Kept: {whose} round {card.get('best_round')}.", rounds(card)]
    for task in tasks:
        series = {
            name: [(row["round"], row.get(key, {}).get(task)) for row in card["rounds"]]
            for name, key in (("nominal", "returns"), ("randomised", "randomised"))
        }
        parts.append(line_plot(f"{task}: student after each round", "round", "return", series))
    parts += ["## Speed and parity", speed(card), "## Protocol"]
    parts.append((("", ""), [(key, str(value)) for key, value in card["protocol"].items()]))
    return [part for part in parts if part]


def facts(card: Card) -> str:
    """Return where it comes from, in a paragraph."""
    teacher = card["teacher"]
    return (
        f"{card['date']}, commit {card['commit']}, seed {card['seed']}: `{card['command']}`. "
        f"Teacher: {teacher.get('kind', 'planner')}, {teacher['updates']} updates, tasks "
        f"{', '.join(teacher['tasks'])}, sha256 {teacher['sha256'][:12]}."
    )


def returns(card: Card) -> Table:
    """Return everybody's returns under both protocols."""
    tasks = list(card["retention"])
    heads = ["", *(f"{t} (bar {known_task(t).success_bar:.0f})" for t in tasks)]
    heads += [f"{t}, no termination" for t in tasks]
    rows = []
    for name, by_task in card["results"].items():
        cells = [_cell(by_task.get(task)) for task in tasks]
        ezm = [by_task.get(task, {}).get("ezm") for task in tasks]
        rows.append(
            [name, *cells, *(f"{e['mean']:.0f} ± {e['std']:.0f}" if e else "-" for e in ezm)]
        )
    return heads, rows


def _cell(entry: dict[str, Any] | None) -> str:
    if not entry:
        return "-"
    count = len(entry["returns"])
    return f"{entry['mean']:.0f} ± {entry['std']:.0f}, {entry['falls']}/{count} falls"


def kept(card: Card) -> Table:
    """Return the retention against everything that could have been copied."""
    names = list(next(iter(card["retention"].values())))
    rows = [
        [task, *("-" if shares.get(n) is None else f"{shares[n]:.2f}" for n in names)]
        for task, shares in card["retention"].items()
    ]
    return ["task", *(f"of {name}" for name in names)], rows


def effort_note() -> str:
    """Return what the columns of `effort` are."""
    return (
        "Until the fall or the end: root mean square change of action per step; of joint torque, "
        "N m; mean absolute mechanical power, W (with the energy per step, J); speed along x, m/s; "
        "cost of transport."
    )


def effort(card: Card) -> Table:
    """Return smoothness and energy of everybody, per task."""
    rows = []
    for name, by_task in card["results"].items():
        for task, e in by_task.items():
            if "power" not in e:
                continue
            transport = "-" if e["transport"] is None else f"{e['transport']:.2f}"
            rows.append([name, task, f"{e['action_rate']:.3f}", f"{e['torque']:.1f}",
                         f"{e['power']:.0f} ({0.02 * e['power']:.1f})", f"{e['speed']:.2f}",
                         transport])  # fmt: skip
    return ["", "task", "action rate", "torque", "power", "speed", "transport"], rows


def push_table(card: Card) -> Table:
    """Return recovered of pushed, per size."""
    rows, sizes = [], []
    for name, by_task in card["pushes"].items():
        for task, curve in by_task.items():
            sizes = [f"{row['size']:g} m/s" for row in curve]
            rows.append([name, task, *(f"{r['recovered']} of {r['pushed']}" for r in curve)])
    return ["", "task", *sizes], rows


def turn_table(card: Card) -> Table:
    """Return who is still up after each change of task."""
    heads = list(next(iter(card["turns"].values())))
    rows = [
        [name, *(f"{cell['up']} of {cell['told']}" for cell in cells.values())]
        for name, cells in card["turns"].items()
    ]
    return ["", *heads], rows


def rounds(card: Card) -> Table:
    """Return the rounds' figures."""
    tasks, rows = list(card["retention"]), []
    for row in card["rounds"]:
        head = [str(row["round"]), f"{row['beta']:.2f}", str(row["states"]), str(row["falls"])]
        both = [[row.get(key, {}).get(t) for key in ("returns", "randomised")] for t in tasks]
        cells = [" / ".join("-" if x is None else f"{x:.0f}" for x in pair) for pair in both]
        rows.append([*head, *cells, f"{row['worth']:.3f}" if "worth" in row else "-"])
    return ["round", "teacher's share", "states", "falls", *tasks, "worth"], rows


def speed(card: Card) -> Table:
    """Return microseconds per decision, and how far the engines agree."""
    student, planner = card["latency"]["student"], card["latency"]["planner"]
    times = planner["p50_us"] / student["p50_us"]
    rows = [
        ["student, ONNX Runtime, one thread", f"{student['p50_us']:.0f} µs (p99 "
         f"{student['p99_us']:.0f})"],
        ["teacher, torch, one thread", f"{planner['p50_us']:.0f} µs, {times:.0f} times as long"],
        *([f"largest difference, {k}", f"{v:.1e}" if isinstance(v, float) else str(v)]
          for k, v in card.get("parity", {}).items() if k != "states"),
        ["states compared", str(card.get("parity", {}).get("states", "-"))],
    ]  # fmt: skip
    return ["", ""], rows


def markdown_table(table: Table) -> str:
    """Return a table in Markdown."""
    heads, rows = table
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _html(part: Part) -> str:
    if not isinstance(part, str):
        heads, rows = part
        head = "".join(f"<th>{escape(cell)}" for cell in heads)
        body = "".join("<tr>" + "".join(f"<td>{escape(c)}" for c in row) for row in rows)
        return f"<table><tr>{head}{body}</table>"
    if part.startswith("<svg"):
        return part
    level = len(part) - len(part.lstrip("#"))
    if level:
        return f"<h{level}>{escape(part[level:].strip())}</h{level}>"
    return f"<p>{escape(part)}</p>"
