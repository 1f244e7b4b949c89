"""Ship a distillation: policy, card and teacher side by side, and a row in the ledger."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from training.demonstrator import best_checkpoint
from training.files import write_text

SHIPPED = ("policy.onnx", "card.json", "teacher.safetensors")
FOLDERS = re.compile(r"(?<![^\s=\[,\"'])/(?:[^\s/=,\[\]\"']+/)+")  # of an absolute path
HEADER = (
    "| model | date | commit | action map | task: student / planner / random (retention) | µs |\n"
    "|---|---|---|---|---|---|\n"
)


def ship(folder: Path, target: Path, card: dict[str, Any]) -> None:
    """Copy what is shipped from `folder` to `target`; note it in `target`/../README.md.

    Folders of the machine where it was made stay there: of an absolute path its last name is kept.
    """
    target.mkdir(parents=True, exist_ok=True)
    for name in SHIPPED:
        part = target / f"{name}.part"
        if name.endswith(".json"):
            part.write_text(json.dumps(portable(json.loads((folder / name).read_text())), indent=1))
        elif name.endswith(".safetensors"):
            copy_weights(folder / name, part)
        else:
            shutil.copyfile(folder / name, part)
        part.replace(target / name)
    ledger = target.parent / "README.md"
    text = ledger.read_text() if ledger.is_file() else "# Models\n"
    write_text(ledger, enter(text, target.name, row(target.name, card)))


def portable(value: Any) -> Any:
    """Return JSON-ready values without the folders of absolute paths."""
    if isinstance(value, dict):
        return {key: portable(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [portable(entry) for entry in value]
    return FOLDERS.sub("", value) if isinstance(value, str) else value


def copy_weights(source: Path, target: Path) -> None:
    """Copy a safetensors file, its configuration made portable."""
    with safe_open(source, framework="np") as file:
        facts = file.metadata() or {}
    facts = {key: FOLDERS.sub("", text) for key, text in facts.items()}
    save_file(load_file(source), target, metadata=facts)


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


def ship_demonstrators(
    run: Path, target: Path, tasks: list[str], since: int = 0, until: int = 0
) -> None:
    """Copy, for every task, the checkpoint of a demonstrator's run that was best at it.

    since, until: updates, as in `training.demonstrator.best_checkpoint`.
    """
    target.mkdir(parents=True, exist_ok=True)
    for task in tasks:
        part = target / f"{task}.safetensors.part"
        copy_weights(best_checkpoint(run, task, since, until), part)
        part.replace(target / f"{task}.safetensors")
