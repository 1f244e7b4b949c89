"""The report of a fault campaign, or of anything else that prints a table and a line of JSON.

make faults | tee faults.txt; python reports/run.py faults.txt
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from reports import anchors, charts
from reports.page import Part, Plots, Table

ROW = re.compile(
    r"^(?P<fault>\S.{31})\s*(?P<seeds>\d+)\s+(?:(?P<limits>\d+)\s+)?(?P<mode>[A-Z_|]+)\s+"
    r"(?P<damped>-|\d+ ms\*?)\s*(?P<after>\S*)$"
)
COMPLAINT = "NOT AS PROMISED: "


def last_json(path: Path) -> tuple[list[str], dict[str, Any]]:
    """Return the lines before the last one, and the last one's object."""
    lines = path.read_text(errors="replace").strip().splitlines()
    text = path.read_text(errors="replace").strip()
    for before, last in ((lines[:-1], lines[-1] if lines else ""), ([], text)):
        try:
            found = json.loads(last)
        except ValueError:
            continue
        if isinstance(found, dict):
            return before, found
    raise ValueError(f"{path}: the last line is no JSON object; save a command's whole output")


def report(path: Path) -> tuple[str, list[Part], dict[str, Any]]:
    """Return title, parts and the figures of the last line."""
    lines, facts = last_json(path)
    if "limit_exceeded" in facts:
        return _faults(path, lines, facts)
    if "scores" in facts:
        return _scores(path, facts)
    parts: list[Part] = [Table(("", ""), [(k, _plain(v)) for k, v in facts.items()])]
    return path.stem, parts, {"kind": "output", "keys": sorted(facts)}


def _faults(
    path: Path, lines: list[str], facts: dict[str, Any]
) -> tuple[str, list[Part], dict[str, Any]]:
    rows, damped, fault = [], {}, ""
    complaints: list[str] = []
    for line in lines:
        if COMPLAINT in line:
            complaints.append(f"{fault}: {line.partition(COMPLAINT)[2]}")
            continue
        found = ROW.match(line)
        if found:
            fault = found["fault"].strip()
            rows.append(
                [
                    fault,
                    *(
                        found[name] or "-"
                        for name in ("seeds", "limits", "mode", "damped", "after")
                    ),
                ]
            )
            if found["damped"] != "-":
                damped[fault] = float(found["damped"].split()[0])
    good = not facts["broken"] and not facts["limit_exceeded"]
    verdict = "Everything went as promised." if good else "**NOT everything went as promised.**"
    parts: list[Part] = [
        f"{verdict} {facts['faults']} faults, {facts['trials']} trials, {facts['writes']} writes "
        f"to the drives, {facts['limit_exceeded']} of them beyond a limit; the slowest way into "
        f"damping took {facts['damped_ms_max']} ms.",
        *(f"**{complaint}**" for complaint in complaints),
        "## Every fault",
        "`*`: in real processes, counted from the fault itself, the machine's delays included.",
        Table(("fault", "seeds", "beyond limits", "ends in", "damped after", "then"), rows),
    ]
    if damped:
        most = max(100.0, *damped.values()) * 1.01
        parts += ["## Time into damping", Plots([charts.bars("slowest seed", damped, most, "ms")])]
    return "Fault campaign", parts, {"kind": "faults", "rows": len(rows), "broken": facts["broken"]}


def _scores(path: Path, facts: dict[str, Any]) -> tuple[str, list[Part], dict[str, Any]]:
    """Return the report of `training/evaluate.py`: players by protocols by tasks."""
    rows = []
    for player, protocols in facts["scores"].items():
        for protocol, scores in protocols.items():
            for task, score in scores["tasks"].items():
                value = f"{score['mean']:.1f} ± {score['std']:.1f}"
                rows.append([f"{task}: {player}", protocol, value, *anchors.cells(task)])
    rest = [(k, _plain(v)) for k, v in facts.items() if k != "scores"]
    parts: list[Part] = [Table(("task", "protocol", "return", *anchors.HEADS), rows), anchors.NOTE]
    parts += ["## The command", Table(("", ""), rest)]
    return f"Evaluation: {path.stem}", parts, {"kind": "evaluation", "rows": len(rows)}


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
