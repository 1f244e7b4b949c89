"""Held-out phrases and paraphrases: what the data claims, and what is counted."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import numpy as np
import pytest

from runtime.language import POLITE, held_out_phrases, known_phrases, words
from training import retrieval
from training.retrieval import apart, foreign, found, paraphrases, taken

# what may be shared: words that tell no task
SMALL = {
    *("a", "an", "the", "and", "at", "for", "from", "in", "into", "of", "on", "or", "that", "to"),
    *("with", "your", "you", "it", "its", "is", "not", "be", "do", "as", "get", "go", "now"),
}


ANGLES = {"north": 90.0, "up": 80.0, "south": 270.0, "east": 0.0, "a bit south": 290.0}


class Compass:
    """Texts are directions in the plane."""

    name = "compass"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        radians = np.radians([ANGLES[text] for text in texts])
        return np.stack([np.cos(radians), np.sin(radians)], 1)


@pytest.mark.parametrize("part", ["in_view", "unseen"])
def test_paraphrases_share_no_word_with_the_known_phrases_of_their_task(part):
    assert set(paraphrases(part)) == set(known_phrases())
    for task, phrases in paraphrases(part).items():
        told = {word for phrase in known_phrases()[task] for word in words(phrase)}
        assert len(phrases) == 3
        for phrase in phrases:
            assert not set(words(phrase)) & told - SMALL - POLITE, (task, phrase)


def test_no_phrase_stands_twice():
    sets = (known_phrases(), held_out_phrases(), paraphrases("in_view"), paraphrases("unseen"))
    every = [p for phrases in sets for ps in phrases.values() for p in ps]
    every += [*foreign("foreign"), *foreign("fresh")]
    assert len({" ".join(words(phrase)) for phrase in every}) == len(every)


def test_the_nearest_phrase_and_the_nearest_mean_are_counted():
    told = {"n": ["north", "up"], "s": ["south", "east"]}  # means: 85 and 315 degrees
    asked = {"n": ["up"], "s": ["a bit south", "south"]}
    assert found(Compass(), told, asked) == {"nearest": 1.0, "mean": 1.0}
    assert found(Compass(), told, {"n": ["east"]}) == {"nearest": 0.0, "mean": 0.0}
    skewed = {"n": ["north", "east"], "s": ["south"]}  # "a bit south" is 70 off east, 20 off south
    assert found(Compass(), skewed, {"s": ["a bit south"], "n": ["up"]})["nearest"] == 1.0


def test_tasks_are_the_farther_apart_the_more_alike_their_own_phrases_are():
    near = apart(Compass(), {"n": ["north", "up"], "s": ["south", "a bit south"]})
    far = apart(Compass(), {"n": ["north", "up"], "e": ["east", "south"]})
    assert near > 2 * far > 0


def test_answers_are_right_named_refused_or_wrong():
    from runtime.language import PhraseBook

    book = PhraseBook.shipped(tuple(known_phrases()))
    asked = {"walk": ["walk forward", "amble along"], "run": ["stand still"], "": ["make tea"]}
    counts = taken(book, asked)
    assert counts["right"] == 1 and counts["wrong"] == 1
    assert counts["named"] + counts["refused"] == 2
    assert taken(book, {"": ["walk forward"]})["wrong"] == 1


def test_the_command_prints_tables_and_one_line_of_json(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["retrieval.py", "encoders=[hashed-ngrams-256]"])
    assert retrieval.main() == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    spelt = facts["retrieval"]["hashed-ngrams-256"]
    assert spelt["held_out"]["nearest"] > 0.9 > 0.2 > spelt["paraphrases"]["nearest"]
    robot = facts["robot"]["spelling"]
    assert robot["held_out"]["wrong"] == robot["paraphrases"]["wrong"] == 0
    assert sum(robot["held_out"].values()) == 56


def test_an_encoder_that_is_not_there_is_left_out_and_an_unknown_one_refused(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    words = ["retrieval.py", "encoders=[hashed-ngrams-64,sentence:mine]"]
    monkeypatch.setattr(sys, "argv", words)
    assert retrieval.main() == 0
    out = capsys.readouterr().out
    assert "left out: encoder=sentence:mine needs" in out
    assert list(json.loads(out.splitlines()[-1])["retrieval"]) == ["hashed-ngrams-64"]
    monkeypatch.setattr(sys, "argv", ["retrieval.py", "encoders=[word2vec]"])
    assert retrieval.main() == 2
    assert "there are hashed-ngrams" in capsys.readouterr().err
