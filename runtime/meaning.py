"""Phrases to tasks by what they mean, where a sentence encoder is installed; an option.

Spelling (runtime/language.py) goes first and keeps every refusal that names a reason: to stop, a
prohibition, another way to do it, a task that the policy does not have. What spelling finds near
nothing, or near two tasks, is compared by meaning, with the phrases of all tasks and with those of
foreign.json, which are none. It must be near one task and clearly nearer than to everything else;
otherwise it is refused with the candidates. What spelling takes and meaning gives to another is
refused too. Never guess: a wrong task moves a robot the wrong way.

    python -m runtime.meaning "amble along" "make me a coffee"
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from runtime.encoders import open_encoder
from runtime.language import Encoder, Match, PhraseBook, known_phrases, refused, tell
from runtime.minilm import MissingEncoderError

FOREIGN = Path(__file__).with_name("foreign.json")
NONE = "none of the tasks"
ENCODER = "minilm"
LEAST_SIMILARITY = 0.65  # cosine to the nearest known phrase
LEAST_MARGIN = 0.12  # of the best task before the second, and before what is no task


class MeaningBook:
    """A phrase book that asks for the meaning where spelling knows no answer."""

    def __init__(self, tasks: Sequence[str], encoder: Encoder) -> None:
        """Take the tasks that may be answered; encodes all known phrases."""
        self.spelt = PhraseBook.shipped(tasks)
        known = {**known_phrases(), NONE: foreign_phrases()}
        self.meant = PhraseBook(known, (*tasks, NONE), encoder)

    @classmethod
    def shipped(cls, tasks: Sequence[str]) -> MeaningBook:
        """Return the book of the shipped phrases; MissingEncoderError without the encoder."""
        return cls(tasks, open_encoder(ENCODER))

    def match(self, phrase: str) -> Match:
        """Return the task that a phrase means, or a refusal."""
        spelt = self.spelt.match(phrase)
        if spelt.certain or not (spelt.task or spelt.unknown):
            return spelt
        meant = self._meant(phrase)
        if spelt.task is None:
            return self.spelt.allowed(meant)
        best = meant.ranking[0][0]
        if best == spelt.task:
            return spelt
        said = f"{phrase!r} is spelt like {spelt.task} and means {best}; say it in other words"
        return refused(spelt, said)

    def _meant(self, phrase: str) -> Match:
        ranking = self.meant.ranking(phrase)
        (best, similarity), (second, next_best) = ranking[:2]
        found = Match(phrase, best, similarity, ranking=ranking)
        near = " or ".join(f"{task} ({value:.2f})" for task, value in ranking[:3] if task != NONE)
        if best == NONE:
            return refused(found, f"{phrase!r} means {NONE}; nearest: {near}")
        if similarity < LEAST_SIMILARITY:
            return refused(found, f"{phrase!r} means no known phrase; nearest: {near}")
        if similarity - next_best < LEAST_MARGIN:
            other = f" or {NONE}" * (second == NONE)
            return refused(found, f"{phrase!r} may mean {near}{other}; say it in other words")
        return self.spelt.same_way(found)


def foreign_phrases() -> list[str]:
    """Return phrases that are no task: what a new one must not be nearest to."""
    return json.loads(FOREIGN.read_text(encoding="utf-8"))["foreign"]


def main() -> int:
    """Print what each word of the command line is taken for; 0 if all were understood."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        return 0
    try:
        book = MeaningBook.shipped(list(known_phrases()))
    except MissingEncoderError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return tell([book.match(said) for said in sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
