"""A report is a list of parts: Markdown text, tables, plots; written as HTML or as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:66rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}"
    "td,th{border:1px solid #d0d7de;padding:.2rem .6rem;text-align:right}"
    "td:first-child,th:first-child{text-align:left}tr:nth-child(even){background:#f6f8fa}"
    "code{background:#eff1f3;padding:0 .25em}.plots{display:flex;flex-wrap:wrap;gap:10px}"
    ".bad{color:#d1242f;font-weight:600}"
)


@dataclass(frozen=True)
class Table:
    """Heads and rows of text."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Plots:
    """Plots (SVG text) that stand side by side."""

    drawings: Sequence[str]


Part = str | Table | Plots


def write(path: Path, title: str, parts: Sequence[Part]) -> list[Path]:
    """Write the report; return every file written. The ending chooses the form."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".html":
        path.write_text(html(title, parts))
        return [path]
    return _markdown(path, title, parts)


def html(title: str, parts: Sequence[Part]) -> str:
    """Return one self-contained page."""
    body = "\n".join(_element(part) for part in parts)
    head = f"<!doctype html>\n<html lang='en'><meta charset='utf-8'><title>{escape(title)}</title>"
    return f"{head}\n<style>{STYLE}</style>\n<h1>{escape(title)}</h1>\n{body}\n</html>\n"


def _element(part: Part) -> str:
    if isinstance(part, Plots):
        return f"<div class='plots'>{''.join(part.drawings)}</div>"
    if isinstance(part, Table):
        heads = "".join(f"<th>{_inline(head)}</th>" for head in part.heads)
        rows = ["".join(f"<td>{_inline(cell)}</td>" for cell in row) for row in part.rows]
        return f"<table><tr>{heads}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"
    marks = re.match(r"#+ ", part)
    if marks:
        level = len(marks.group()) - 1
        return f"<h{level}>{_inline(part[level + 1 :])}</h{level}>"
    return f"<p>{_inline(part)}</p>"


def _inline(text: str) -> str:
    """Return Markdown's `code` and **strong** as HTML, everything else escaped."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", text)


def _markdown(path: Path, title: str, parts: Sequence[Part]) -> list[Path]:
    folder, written = path.with_name(f"{path.stem}_plots"), [path]
    lines = [f"# {title}"]
    for part in parts:
        if isinstance(part, Plots):
            for drawing in filter(None, part.drawings):
                folder.mkdir(exist_ok=True)
                file = folder / f"{len(written)}.svg"
                file.write_text(drawing + "\n")
                written.append(file)
                lines.append(f"![plot]({folder.name}/{file.name})")
        elif isinstance(part, Table):
            rows = [[cell.replace("|", "\\|") for cell in row] for row in (part.heads, *part.rows)]
            text = [f"| {' | '.join(row)} |" for row in rows]
            lines.append("\n".join([text[0], f"|{'---|' * len(part.heads)}", *text[1:]]))
        else:
            lines.append(part)
    path.write_text("\n\n".join(lines) + "\n")
    return written
