"""`key=value` words made into frozen dataclasses by way of presets, and those into JSON and back.

Knows nothing of what it configures. `runtime/cli.py` is the smaller one, which needs no omegaconf.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Callable
from typing import Any, TypeVar, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from runtime.fields import table

Config = TypeVar("Config")


class ConfigError(ValueError):
    """A key, value or preset that does not exist or does not fit."""


_YAML_BOOLEAN = re.compile(r"=(on|off|yes|no)$", re.IGNORECASE)  # words, until a field is a bool


def rebuild(kind: Any, values: dict[str, Any]) -> Any:
    """Rebuild the dataclass `kind` from plain containers (lists become tuples)."""
    kinds = get_type_hints(kind)
    unknown = set(values) - set(kinds)
    if unknown:
        raise ConfigError(f"unknown keys {sorted(unknown)}; there are {sorted(kinds)}")
    parts = {
        name: rebuild(kinds[name], item)
        if isinstance(item, dict)
        else (tuple(item) if isinstance(item, list) else item)
        for name, item in values.items()
    }
    try:
        return kind(**parts)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from None


def to_dict(config: Any) -> dict[str, Any]:
    """Return the configuration as JSON-ready containers."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def choose(arguments: list[str], presets: dict[str, Config], default: str) -> Config:
    """Return the preset that `preset=` names (or `default`) with `key=value` words merged in.

    Raises:
        ConfigError: a word without `=`, an unknown key or preset, or a value of another type.
    """
    for word in arguments:
        if "=" not in word:
            raise ConfigError(f"{word!r} is not key=value")
    cli = OmegaConf.create()
    for word in arguments:
        cli.merge_with(_value(word))
    preset = cli.get("preset", default)
    if preset not in presets:
        raise ConfigError(f"unknown preset {preset!r}; there are {sorted(presets)}")
    base = OmegaConf.structured(presets[preset])
    _make_writable(base)
    kind = type(presets[preset])
    try:
        merged = OmegaConf.merge(base, cli)
    except OmegaConfBaseException as error:
        words = ", ".join(get_type_hints(kind))
        raise ConfigError(f"{str(error).splitlines()[0]} (keys: {words})") from None
    return rebuild(kind, OmegaConf.to_container(merged, resolve=True, enum_to_str=True))  # type: ignore[arg-type]


def _value(word: str) -> Any:
    """Return what one `key=value` word says; a value is YAML, as `[1, 2]` or `1e-3` is."""
    try:
        return OmegaConf.from_dotlist([_YAML_BOOLEAN.sub(r"='\1'", word)])
    except YAMLError as error:
        said = getattr(error, "problem", None) or "it ends too early"
        raise ConfigError(f"{word!r} cannot be read: {said}; quote it if it is a text") from None


def _make_writable(node: Any) -> None:
    """Let what came from frozen dataclasses be overridden, at any depth."""
    OmegaConf.set_readonly(node, False)
    for name in node:
        if OmegaConf.is_dict(node[name]):
            _make_writable(node[name])


def describe(config: Any) -> list[str]:
    """Return one line per leaf for --help: `key=default  (type)  meaning and unit`."""
    return table(config)


def from_command_line(read: Callable[[list[str]], Config], about: str | None) -> Config | None:
    """Return what `read` makes of this process's words; None if --help was among them.

    Help prints `about` and every key with the value that the other words give it; words that `read`
    refuses are refused beside it too.
    """
    words = [word for word in sys.argv[1:] if word not in ("-h", "--help")]
    config = read(words)
    if len(words) == len(sys.argv) - 1:
        return config
    print(about, *describe(config), sep="\n")
    return None
