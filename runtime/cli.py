"""`key=value` on the command line, against a frozen dataclass: typos and wrong types are refused.

Nested dataclasses take dotted keys (`guard.rate_limit=20`). Knows nothing of what it configures.
"""

from __future__ import annotations

import dataclasses
import difflib
import sys
from collections.abc import Sequence
from enum import Enum
from typing import Any, TypeVar

from runtime.fields import show, table

T = TypeVar("T")


class ConfigError(ValueError):
    """A key or a value on the command line is wrong; the message says which and what exists."""


def parse(base: T, argv: Sequence[str]) -> T:
    """Return `base`, a frozen dataclass, with the `key=value` words of `argv` applied."""
    for word in argv:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"expected key=value, got '{word}'; keys: {', '.join(keys(base))}")
        base = _replace(base, key.split("."), value, key)
    return base


def keys(base: Any) -> list[str]:
    """Return the dotted names of all values in `base`."""
    return [name for name, _ in _leaves(base)]


def usage(base: Any, program: str, doc: str) -> str:
    """Return the help text: what the program is, and every key with default, type and meaning."""
    return "\n".join([doc.strip(), "", f"usage: {program} [key=value ...]", "", *table(base)])


def parse_or_exit(base: T, argv: Sequence[str], program: str, doc: str) -> T:
    """Parse, or print the help (exit 0) or one sentence about the mistake (exit 2)."""
    if any(word in ("-h", "--help", "help") for word in argv):
        print(usage(base, program, doc))
        sys.exit(0)
    try:
        return parse(base, argv)
    except ConfigError as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(2)


def words(config: Any) -> list[str]:
    """Return the `key=value` words that rebuild `config` from its type's defaults."""
    return [f"{name}={show(value)}" for name, value in _leaves(config)]


def _leaves(base: Any, prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for item in dataclasses.fields(base):
        value = getattr(base, item.name)
        if dataclasses.is_dataclass(value):
            found += _leaves(value, f"{prefix}{item.name}.")
        else:
            found.append((prefix + item.name, value))
    return found


def _replace(base: Any, path: list[str], text: str, key: str) -> Any:
    names = [item.name for item in dataclasses.fields(base)]
    if path[0] not in names:
        near = difflib.get_close_matches(path[0], names, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise ConfigError(f"unknown key '{key}'{hint} (keys: {', '.join(keys(base))})")
    old = getattr(base, path[0])
    nested = dataclasses.is_dataclass(old)
    if nested != (len(path) > 1):
        raise ConfigError(f"'{key}' is {'a group' if nested else 'a single value'}, not the other")
    new = _replace(old, path[1:], text, key) if nested else _value(old, text, key)
    try:
        return dataclasses.replace(base, **{path[0]: new})
    except ValueError as error:  # a dataclass may refuse values in __post_init__
        raise ConfigError(f"{key}={text}: {error}") from None


def _value(old: Any, text: str, key: str) -> Any:
    kind = type(old)
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if issubclass(kind, Enum):
            return kind[text.upper()]
        return kind(text)
    except (ValueError, KeyError):
        expected = kind.__name__
        if issubclass(kind, Enum):
            expected = f"one of {[item.name.lower() for item in kind]}"
        raise ConfigError(f"{key}={text}: expected {expected}") from None
