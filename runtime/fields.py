"""What a configuration says of itself for --help: every key, its default, type, meaning and unit.

The meaning is the comment behind the field in its own source, or its `help` metadata: said once,
where the field is. Knows no command line and no configuration in particular.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any


@dataclass(frozen=True)
class Leaf:
    """One value of a configuration."""

    key: str  # dotted
    default: str
    kind: str  # its type
    meaning: str  # with its unit; empty where nobody wrote one


def leaves(config: Any, prefix: str = "") -> Iterator[Leaf]:
    """Yield every value of a dataclass and of the dataclasses in it, in order."""
    said = meanings(type(config))
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, f"{prefix}{item.name}.")
            continue
        kind = item.type if isinstance(item.type, str) else item.type.__name__
        if isinstance(value, Enum):
            kind = " | ".join(member.name.lower() for member in type(value))
        meaning = item.metadata.get("help") or said.get(item.name, "")
        yield Leaf(prefix + item.name, show(value), kind, meaning)


def table(config: Any) -> list[str]:
    """Return one aligned line per value: `key=default  (type)  meaning`."""
    rows = list(leaves(config))
    left = [f"{row.key}={row.default}" for row in rows]
    width = min(40, max(map(len, left)))
    kinds = max(len(row.kind) for row in rows) + 2
    return [
        f"  {text:{width}}  {f'({row.kind})':{kinds}}  {row.meaning}".rstrip()
        for text, row in zip(left, rows, strict=True)
    ]


def show(value: Any) -> str:
    """Return a value as it is typed on a command line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{','.join(map(show, value))}]"
    return value.name.lower() if isinstance(value, Enum) else str(value)


@functools.cache
def meanings(kind: type) -> dict[str, str]:
    """Return the comment behind each field of a dataclass; base classes count, nearest first."""
    found: dict[str, str] = {}
    for owner in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(owner):
            continue
        try:
            source = inspect.getsource(owner)
        except (OSError, TypeError):  # no source here, as in a frozen program
            continue
        comments = _comments(inspect.cleandoc("\n" + source))
        found |= {name: text for name, text in comments.items() if name in owner.__annotations__}
    return found


def _comments(source: str) -> dict[str, str]:
    """Return {name: comment} of a class body; of a value on several lines, the first comment."""
    found: dict[str, str] = {}
    name = ""
    depth = 0  # of brackets: words inside a default are no field
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.OP:
            depth += (token.string in "([{") - (token.string in ")]}")
        if token.type == tokenize.OP and token.string == ":" and depth == 0:
            words = token.line.split(":")[0].strip()
            name = words if words.isidentifier() else ""
        elif token.type == tokenize.COMMENT and name:
            text = token.string.lstrip("# ").strip()
            behind = token.line.strip() != token.string
            if behind:
                found.setdefault(name, text)
        elif token.type == tokenize.NEWLINE:
            name = ""
    return found
