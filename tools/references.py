"""Write the tables of docs/wire.md and docs/policyspec.md from the code that they describe.

python tools/references.py            after a change of frames, verbs, modes or PolicySpec
python tools/references.py --check    exit code 1 where a table is not what the code says
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np

from runtime import frames
from runtime.fields import meanings
from runtime.modes import Mode
from runtime.spec import BLOCKS, PolicySpec

DOCS = Path(__file__).resolve().parents[1] / "docs"
_TABLE = re.compile(r"<!-- table: (\w+) -->\n(.*?)<!-- end -->", re.DOTALL)


def frames_table() -> str:
    """Return one table per kind of frame: field, type, first byte."""
    parts = []
    for kind in frames.Kind:
        layout = frames.blank(kind).dtype
        rows = [f"**{kind.name}** ({kind.value}), {layout.itemsize} bytes", ""]
        rows += ["| field | type | at byte |", "|---|---|---|"]
        for name in layout.names or ():
            field, offset = (layout.fields or {})[name][:2]
            rows.append(f"| `{name}` | {_type(field)} | {offset} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts)


def _type(field: np.dtype) -> str:
    base, shape = field.subdtype if field.subdtype else (field, ())
    return base.str.lstrip("<|") + (f"[{shape[0]}]" if shape else "")


def verbs_table() -> str:
    """Return the verbs of a request and the modes, with their numbers."""
    rows = ["| verb | number | carries |", "|---|---|---|"]
    said = _members(frames.Verb)
    rows += [f"| {verb.name} | {verb.value} | {said.get(verb.name, '')} |" for verb in frames.Verb]
    said = _members(Mode)
    rows += ["", "| mode | number | what the drives get |", "|---|---|---|"]
    rows += [f"| {mode.name} | {mode.value} | {said.get(mode.name, '')} |" for mode in Mode]
    return "\n".join(rows)


def _members(kind: type) -> dict[str, str]:
    """Return the comment behind each member of an enumeration."""
    found = re.findall(r"^    (\w+) = [^#\n]+# (.*)$", inspect.getsource(kind), re.MULTILINE)
    return dict(found)


def spec_table() -> str:
    """Return the fields of a PolicySpec."""
    said = meanings(PolicySpec)
    rows = ["| field | type | what |", "|---|---|---|"]
    rows += [f"| `{f.name}` | {f.type} | {said.get(f.name, '')} |" for f in fields(PolicySpec)]
    return "\n".join(rows)


def blocks_table() -> str:
    """Return the observation blocks that exist."""
    rows = ["| block | size | scale | sim_only |", "|---|---|---|---|"]
    rows += [f"| `{n}` | {size} | {scale:g} | {sim} |" for n, (size, scale, sim) in BLOCKS.items()]
    return "\n".join(rows)


TABLES: dict[str, Callable[[], str]] = {
    "frames": frames_table,
    "verbs": verbs_table,
    "spec": spec_table,
    "blocks": blocks_table,
}


def written(text: str) -> str:
    """Return a page with its tables as the code has them."""
    return _TABLE.sub(lambda m: f"<!-- table: {m[1]} -->\n{TABLES[m[1]]()}\n<!-- end -->", text)


def main() -> int:
    """Rewrite the pages, or say which are stale."""
    stale = []
    for name in ("wire.md", "policyspec.md"):
        path = DOCS / name
        text = path.read_text()
        if written(text) != text:
            stale.append(name)
            if "--check" not in sys.argv[1:]:
                path.write_text(written(text))
    if "--check" in sys.argv[1:] and stale:
        print(f"stale: {', '.join(stale)}; run python tools/references.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
