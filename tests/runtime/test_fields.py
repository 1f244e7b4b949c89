"""--help tells every key's default, type and meaning, from the one place where the key is."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import Enum

import pytest

from runtime.fields import leaves, meanings, show, table


class Colour(Enum):
    RED = 1
    DARK_BLUE = 2


@dataclass(frozen=True)
class Inner:
    limit: float = 0.5  # rad/s, of "something" (a # in it)
    silent: int = 3


@dataclass(frozen=True)
class Base:
    name: str = "a: b"  # m: with a colon
    colour: Colour = Colour.RED  # of it


@dataclass(frozen=True)
class Outer(Base):
    # a comment of its own line belongs to nobody
    name: str = "x"  # nearest wins
    sizes: tuple[int, ...] = (  # pixels
        1,  # not a field: 5
        2,
    )
    inner: Inner = field(default_factory=Inner)
    said: bool = field(default=True, metadata={"help": "by itself"})

    def method(self) -> None:
        local: int = 3  # no field
        del local


def test_meanings_are_the_comments_behind_the_fields():
    assert meanings(Inner) == {"limit": 'rad/s, of "something" (a # in it)'}
    assert meanings(Outer)["name"] == "nearest wins"
    assert meanings(Outer)["colour"] == "of it"
    assert meanings(Outer)["sizes"] == "pixels"
    assert "local" not in meanings(Outer)


def test_leaves_come_in_order_with_dotted_keys_and_enumerations_name_their_members():
    found = {leaf.key: leaf for leaf in leaves(Outer())}
    assert list(found) == ["name", "colour", "sizes", "inner.limit", "inner.silent", "said"]
    assert found["colour"].kind == "red | dark_blue"
    assert found["said"].meaning == "by itself"
    assert found["sizes"].default == "[1,2]"
    assert found["inner.silent"].meaning == ""


def test_a_default_is_shown_as_it_is_typed():
    shown = [show(value) for value in (True, 1.5, (0.1, -2.0), Colour.DARK_BLUE, "")]
    assert shown == ["true", "1.5", "[0.1,-2.0]", "dark_blue", ""]


def test_the_table_has_a_line_for_every_leaf():
    lines = table(Outer())
    assert len(lines) == 6
    assert " ".join(lines[3].split()) == f"inner.limit=0.5 (float) {meanings(Inner)['limit']}"


def configurations() -> dict[str, object]:
    """Return what each door lists with --help."""
    from runtime import (
        bench,
        compare,
        h1_double,
        health,
        keys,
        listen,
        live,
        prepare,
        record,
        recorder,
        replay,
        server,
        session,
    )
    from runtime.faults import __main__ as campaign
    from runtime.faults import fuzz, switches

    found = {
        "ezm-run": session.RunConfig(),
        "ezm-robot": server.base_config("unitree"),
        "ezm-view": live.LiveConfig(),
        "bench": bench.BenchConfig(),
        "record": record.RecordConfig(),
        "health": health.HealthConfig(),
        "prepare": prepare.PrepareConfig(),
        "viewer": listen.ListenConfig(),
        "recorder": recorder.RecorderConfig(),
        "replay": replay.ReplayConfig(),
        "compare": compare.CompareConfig(),
        "keys": keys.KeysConfig(),
        "double": h1_double.DoubleConfig(),
        "faults": campaign.CampaignConfig(),
        "fuzz": fuzz.FuzzConfig(),
        "switches": switches.SwitchConfig(),
    }
    pytest.importorskip("omegaconf", reason="the trainer's extra is not installed")
    import distill.config
    import distill.study
    import training.bench
    import training.demonstrate
    import training.evaluate
    import training.language
    import training.parity
    import training.pictures
    import training.presets
    import training.retrieval
    import training.study

    found["ezm-train"] = training.presets.PRESETS["h1_small"]
    found["ezm-distill"] = distill.config.PRESETS["h1"]
    found["evaluate"] = training.evaluate.EvaluateConfig()
    found |= {
        "bench of training": training.bench.BenchConfig(),
        "demonstrate": training.demonstrate.DemonstrateConfig(),
        "language": training.language.LanguageConfig(),
        "parity": training.parity.ParityConfig(),
        "pictures": training.pictures.PictureConfig(),
        "retrieval": training.retrieval.RetrievalConfig(),
        "study": training.study.StudyConfig(),
        "study of distill": distill.study.StudyConfig(),
    }
    return found


def test_every_key_of_every_door_says_what_it_means():
    silent = {
        name: [leaf.key for leaf in leaves(config) if not leaf.meaning]
        for name, config in configurations().items()
    }
    assert not {name: keys for name, keys in silent.items() if keys}
    assert all(dataclasses.is_dataclass(config) for config in configurations().values())
