"""Finds out what is to be reported, and has the report written."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports import campaign, distillation, recording, trainings
from reports.page import Part, write
from runtime.cli import ConfigError, parse, usage

Report = tuple[str, list[Part], dict[str, Any]]
KINDS = (
    "a training folder (metrics.jsonl), a distillation folder (card.json), a recording (.mcap), \
or a command's saved output whose last line is JSON"
)


@dataclass(frozen=True)
class ReportConfig:
    """Where the page goes; the words without '=' are what it is about."""

    out: str = "report.html"  # .html: one file; .md: with its plots in a folder beside it


def make(sources: Sequence[Path]) -> Report:
    """Return the report of what lies there, or raise ValueError with a sentence."""
    for source in sources:
        if not source.exists():
            raise ValueError(f"{source} does not exist")
    if all(source.is_dir() and trainings.is_run(source) for source in sources):
        return trainings.report(sources)
    if len(sources) > 1:
        raise ValueError("several sources are several seeds: each must be a training folder")
    return _single(sources[0])(sources[0])


def _single(source: Path) -> Callable[[Path], Report]:
    if source.is_dir():
        if not (source / distillation.NAME).is_file():
            names = sorted(path.name for path in source.iterdir())[:8]
            raise ValueError(f"{source} has {names}; expected {KINDS}")
        return lambda path: distillation.report(path / distillation.NAME)
    if source.name == distillation.NAME:
        return distillation.report
    return recording.report if source.suffix == ".mcap" else campaign.report


def from_words(words: Sequence[str], doc: str) -> int:
    """Write the report that the words ask for; return the exit code."""
    if not words or any(word in ("-h", "--help", "help") for word in words):
        text = usage(ReportConfig(), "ezm-report SOURCE [SOURCE ...]", doc)
        print(text, "", f"SOURCE: {KINDS}", sep="\n")
        return 0 if words else 2
    sources = [Path(word) for word in words if "=" not in word]
    try:
        config = parse(ReportConfig(), [word for word in words if "=" in word])
    except ConfigError as error:
        return _complain(str(error))
    out = Path(config.out)
    if out.suffix not in (".html", ".md"):
        return _complain(f"out={out}: expected a name that ends in .html or .md")
    if not sources:
        return _complain(f"nothing to report on; give {KINDS}")
    try:
        title, parts, facts = make(sources)
    except (ValueError, OSError, KeyError, ModuleNotFoundError) as error:
        return _complain(str(error))
    try:
        files = write(out, title, parts)
    except OSError as error:
        return _complain(f"out={out}: expected a file that can be written ({error})")
    print(f"{title}: {out}, {sum(file.stat().st_size for file in files) // 1024} KiB")
    print(json.dumps({**facts, "out": str(out), "files": len(files)}))
    return 0


def _complain(text: str) -> int:
    print(f"report: {text}", file=sys.stderr)
    return 2
