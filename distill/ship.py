"""Ship a distillation: policy, card and teacher side by side, and a row in the ledger."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from training.checkpoint import write_text

SHIPPED = ("policy.onnx", "card.json", "teacher.safetensors")
HEADER = (
    "| model | date | commit | action map | task: student / planner / random (retention) | µs |\n"
    "|---|---|---|---|---|---|\n"
)


def ship(folder: Path, target: Path, card: dict[str, Any]) -> None:
    """Copy what is shipped from `folder` to `target`; note it in `target`/../README.md."""
    target.mkdir(parents=True, exist_ok=True)
    for name in SHIPPED:
        part = target / f"{name}.part"
        shutil.copyfile(folder / name, part)
        part.replace(target / name)
    ledger = target.parent / "README.md"
    text = ledger.read_text() if ledger.is_file() else "# Models\n"
    write_text(ledger, enter(text, target.name, row(target.name, card)))


def row(name: str, card: dict[str, Any]) -> str:
    """Return a model's line of the ledger."""
    cells, reference = [], card.get("reference", "search")
    for task, kept in card["retention"].items():
        student, planner, random = (
            f"{card['results'][who][task]['mean']:.0f}" for who in ("student", reference, "random")
        )
        share = "-" if kept[reference] is None else f"{kept[reference]:.2f}"
        cells.append(f"{task}: {student} / {planner} / {random} ({share})")
    protocol, latency = card["protocol"], card["latency"]["student"]["p50_us"]
    return (
        f"| `{name}` | {card['date']} | {card['commit']} | {protocol['action_map']} "
        f"| {'; '.join(cells)} | {latency:.0f} |\n"
    )


def enter(text: str, name: str, line: str) -> str:
    """Return the ledger with the model's line replaced, or added to the table."""
    lines = text.splitlines(keepends=True)
    for i, old in enumerate(lines):
        if old.startswith(f"| `{name}` |"):
            return "".join([*lines[:i], line, *lines[i + 1 :]])
    if HEADER in text:
        return text.replace(HEADER, HEADER + line)
    return f"{text}\n{HEADER}{line}"
