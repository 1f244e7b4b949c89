"""`key=value`: what is right is taken, what is wrong is refused with a sentence."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from runtime.cli import ConfigError, parse, parse_or_exit, words
from runtime.guard import Action


@dataclass(frozen=True)
class Inner:
    limit: float = 1.0
    action: Action = Action.WARN


@dataclass(frozen=True)
class Outer:
    name: str = "a"
    count: int = 3
    loud: bool = False
    inner: Inner = field(default_factory=Inner)


def test_values_take_the_type_of_their_field():
    got = parse(
        Outer(), ["name=x=y", "count=-2", "loud=true", "inner.limit=2", "inner.action=damp"]
    )
    assert got == Outer("x=y", -2, True, Inner(2.0, Action.DAMP))


def test_words_rebuild_the_configuration():
    config = Outer("b", 1, True, Inner(0.1, Action.OFF))
    assert parse(Outer(), words(config)) == config


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("nmae=x", "unknown key 'nmae'; did you mean 'name'"),
        ("count=two", "count=two: expected int"),
        ("loud=maybe", "expected bool"),
        ("inner.limt=1", "did you mean 'limit'"),
        ("inner.action=explode", "expected one of .*damp"),
        ("inner=1", "is a group"),
        ("name.first=1", "is a single value"),
        ("--name", "expected key=value"),
    ],
)
def test_mistakes_are_named(word, says):
    with pytest.raises(ConfigError, match=says):
        parse(Outer(), [word])


def test_a_mistake_ends_with_code_2_and_help_with_0(capsys):
    with pytest.raises(SystemExit, match="2"):
        parse_or_exit(Outer(), ["nmae=x"], "prog", "What it is.")
    assert "did you mean 'name'" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="0"):
        parse_or_exit(Outer(), ["--help"], "prog", "What it is.")
    assert "inner.limit" in capsys.readouterr().out
