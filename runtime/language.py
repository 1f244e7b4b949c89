"""From what a person says to a task's name, or a refusal with its reason; numpy only.

`HashedNgrams` turns a phrase into a vector by its spelling: words, pairs of words and pieces of
words, each added at a place that a checksum picks. It knows no meaning: "walk ahead" is near
"walk forward" for the word they share, "stroll" is near neither unless a known phrase has it. The
phrases of each task are in instructions.json. A wrong task moves a robot the wrong way, so a
phrase that is near nothing, near two tasks, or says what not to do gets no task.

    python -m runtime.language "please walk ahead" "make me a coffee"
"""

from __future__ import annotations

import functools
import json
import re
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np

INSTRUCTIONS = Path(__file__).with_name("instructions.json")
LEAST_SIMILARITY = 0.55  # cosine to the nearest known phrase
LEAST_MARGIN = 0.05  # of the best task before the second
FILLERS = {
    *("a", "an", "the", "and", "or", "of", "to", "in", "on", "at", "is", "are", "be", "it", "its"),
    *("you", "your", "i", "me", "my", "we", "now", "go", "do"),
}
POLITE = {"please", "robot", "hey", "hello", "ezm", "just", "can", "could", "would", "will", "want"}
# "do not fall" is part of a task; "do not walk" is none
FORBIDDEN = re.compile(
    r"\b(?:don'?t|not|never|no|stop|quit|avoid|cease|without)\s+(?:\w+\s+)?"
    r"(?:walk|run|stand|sit|crawl|jump|climb|reach|balanc|mov|go|jog|sprint|leap)\w*"
)
# what changes a task into another one, unless that task's own phrases say it too
ANOTHER_WAY = re.compile(
    r"^(?:back|backwards?|behind|side|sideways?|left|right|around|circles?|zigzag|turn|spin|rotat|"
    r"then|until|after|before|hands?|leg|head|blind)(?:s|ing|ed|e|es)?$"
)
HALT = re.compile(r"^(?:emergency )?(?:stop|halt|freeze|abort|estop|e stop|shut)\b")


class Encoder(Protocol):
    """What turns texts into vectors; it is frozen."""

    @property
    def name(self) -> str: ...

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return unit vectors [N, D]."""
        ...


class HashedNgrams:
    """A deterministic text encoder without weights: unit vectors of hashed n-grams."""

    def __init__(self, size: int = 256) -> None:
        self.size, self.name = size, f"hashed-ngrams-{size}"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return unit vectors [N, size] float32; a text without letters or digits gives zeros."""
        vectors = np.zeros((len(texts), self.size))
        for vector, text in zip(vectors, texts, strict=True):
            for gram, weight in _grams(words(text)):
                code = zlib.crc32(gram.encode())
                vector[code % self.size] += weight if code >> 31 else -weight
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return (vectors / np.maximum(length, 1e-12)).astype(np.float32)


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, without politeness (unless it is all there is)."""
    every = re.findall(r"[^\W_]+", text.lower().replace("'", ""))
    return [word for word in every if word not in POLITE] or every


def _grams(spoken: list[str]) -> Iterator[tuple[str, float]]:
    """Yield (n-gram, weight): words 1, pairs 0.5, pieces of 3 to 5 letters 1 a word in all."""
    for word in spoken:
        weight = 0.2 if word in FILLERS else 1.0
        yield f"w {word}", weight
        framed = f"<{word}>"
        pieces = [framed[i : i + n] for n in (3, 4, 5) for i in range(len(framed) - n + 1)]
        for piece in pieces:
            yield f"p {piece}", weight / len(pieces) ** 0.5
    for one, other in pairwise(spoken):
        yield f"b {one} {other}", 0.5


@dataclass(frozen=True)
class Match:
    """What a phrase was taken for: a task, or none and why."""

    phrase: str
    task: str | None
    confidence: float  # cosine to the nearest known phrase of the best task; 1 for a task's name
    reason: str = ""  # of a refusal; empty with a task
    ranking: tuple[tuple[str, float], ...] = ()  # tasks by similarity, best first
    unknown: bool = False  # refused because it is near nothing, or near two tasks

    @property
    def certain(self) -> bool:
        """Return whether it is the task's name or one of its known phrases."""
        return self.task is not None and self.confidence > 1.0 - 1e-5


class PhraseBook:
    """The phrases that are known, and the nearest of them to a new one."""

    def __init__(
        self,
        instructions: Mapping[str, Sequence[str]],
        tasks: Sequence[str],
        encoder: Encoder | None = None,
    ) -> None:
        """Take known phrases by task, the tasks that may be answered, and another encoder if any.

        Phrases of other tasks are kept: what is meant for them must not be taken for one of these.
        """
        self.encoder, self.tasks = encoder or HashedNgrams(), tuple(tasks)
        pairs = [(task, phrase) for task, known in instructions.items() for phrase in known]
        self.names = {plain(name): name for name in (*instructions, *tasks)}
        self.said = {
            task: {w for p in known for w in words(p)} for task, known in instructions.items()
        }
        self.owners = np.array([task for task, _ in pairs])
        self.vectors = self.encoder.encode([phrase for _, phrase in pairs])

    @classmethod
    def shipped(cls, tasks: Sequence[str]) -> PhraseBook:
        """Return the book of instructions.json for a policy of these tasks."""
        return cls(known_phrases(), tasks)

    def match(self, phrase: str) -> Match:
        """Return the task that a phrase means, or a refusal."""
        name = self.names.get(plain(phrase))
        if name is not None:
            return self.allowed(Match(phrase, name, 1.0))
        if HALT.search(" ".join(words(phrase))):
            return Match(phrase, None, 0.0, "to stop is no task: ask for HOLD, DAMPING or ESTOP")
        if FORBIDDEN.search(phrase.lower()):
            return Match(phrase, None, 0.0, f"{phrase!r} says what not to do; say what to do")
        ranking = self.ranking(phrase)
        (best, similarity), second = ranking[0], ranking[1][1] if len(ranking) > 1 else 0.0
        near = " or ".join(f"{task} ({value:.2f})" for task, value in ranking[:2])
        found = Match(phrase, best, similarity, ranking=ranking)
        if similarity < LEAST_SIMILARITY:
            said = f"{phrase!r} is near no known phrase; nearest: {near}"
            return refused(found, said, unknown=True)
        if similarity - second < LEAST_MARGIN:
            said = f"{phrase!r} may mean {near}; say it in other words"
            return refused(found, said, unknown=True)
        return self.allowed(self.same_way(found))

    def same_way(self, match: Match) -> Match:
        """Return a match, or a refusal if the phrase says another way to do its task."""
        if match.task is None:
            return match
        spoken = words(match.phrase)
        other = [word for word in spoken if ANOTHER_WAY.match(word)]
        unknown = sorted(set(other) - self.said.get(match.task, set()))
        said = f"{match.phrase!r} is near {match.task}, which knows nothing of {unknown}"
        if unknown:
            return refused(match, said)
        if other and not set(spoken) - set(other) - FILLERS:
            said = f"{match.phrase!r} says a way, and not what to do"
            return refused(match, said)
        return match

    def ranking(self, phrase: str) -> tuple[tuple[str, float], ...]:
        """Return all tasks with the cosine to their nearest known phrase, best first."""
        similar = self.vectors @ self.encoder.encode([phrase])[0]
        tasks = dict.fromkeys(self.owners.tolist())
        best = {task: float(similar[self.owners == task].max()) for task in tasks}
        return tuple(sorted(best.items(), key=lambda item: -item[1]))

    def allowed(self, match: Match) -> Match:
        """Return a match, or a refusal if its task is none of this book's."""
        if match.task is None or match.task in self.tasks:
            return match
        said = f"{match.phrase!r} means {match.task}; this policy knows {list(self.tasks)}"
        return refused(match, said)


def refused(match: Match, reason: str, *, unknown: bool = False) -> Match:
    """Return a match without its task and why; what it was near stays."""
    return Match(match.phrase, None, match.confidence, reason, match.ranking, unknown)


def plain(text: str) -> str:
    """Return a task's name or a phrase as it is compared with names: "Sit-Simple" is sit_simple."""
    return "_".join(re.findall(r"[^\W_]+", text.lower()))


@functools.cache
def _instructions() -> dict[str, dict[str, list[str]]]:
    return json.loads(INSTRUCTIONS.read_text(encoding="utf-8"))


def known_phrases() -> dict[str, Sequence[str]]:
    """Return the phrases of each task that matching and training may use."""
    return {task: parts["known"] for task, parts in _instructions().items()}


def held_out_phrases() -> dict[str, Sequence[str]]:
    """Return the phrases of each task that are for evaluation alone."""
    return {task: parts["held_out"] for task, parts in _instructions().items()}


def tell(matches: Sequence[Match]) -> int:
    """Print what phrases were taken for; return 0 if all were understood, else 1."""
    for match in matches:
        print(f"{match.phrase!r}: {match.task or match.reason} ({match.confidence:.2f})")
    return 0 if all(match.task for match in matches) else 1


def main() -> int:
    """Print what each word of the command line is taken for; 0 if all were understood."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        return 0
    return tell([PhraseBook.shipped(list(known_phrases())).match(said) for said in sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
