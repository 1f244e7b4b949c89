"""How often a text encoder finds the task of a phrase that it has not been told, in a table.

    python training/retrieval.py
    python training/retrieval.py encoders=[hashed-ngrams-256,sentence:models/mine]

Told are the known phrases of runtime/instructions.json. `held_out` are its others, which share
words with them; `paraphrases` (training/paraphrases.json) share no word with the known phrases of
their own task but "the", "to" and their like, so that only meaning finds it. A task is found by the
nearest known phrase, or by the nearest mean of a task's known phrases. `toy` asks the same of the
toy suite's own phrases. `apart` is how far the tasks' told phrases lie from each other, as training
hears them (training/phrases.py): variance between tasks over variance within them.

The second table is what the robot does with a phrase (runtime/language.py, runtime/meaning.py):
takes it for its task, refuses it with that task among the candidates (`named`), refuses it, takes
it for another. There `paraphrases` are the half that was not in view when the thresholds were set.
`foreign` and `fresh` are no task's: the least similarity was raised once after a look at `foreign`,
and nothing was changed after `fresh`, which was written last. The last line is JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runtime.language import Encoder, PhraseBook, held_out_phrases, known_phrases
from runtime.meaning import MeaningBook
from runtime.minilm import MissingEncoderError
from training import toy
from training.cli import ConfigError, choose, from_command_line
from training.language import HASHED, NotInstalledError, open_encoder

PARAPHRASES = Path(__file__).with_name("paraphrases.json")
CANDIDATES = 2  # that a refusal by spelling names, one by meaning at least
Phrases = Mapping[str, Sequence[str]]  # by task


@dataclass(frozen=True)
class RetrievalConfig:
    """What is compared."""

    encoders: tuple[str, ...] = (HASHED, "wordllama", "minilm")  # those of training/language.py


def paraphrases(part: str) -> Phrases:
    """Return the paraphrases of each task, `in_view` when thresholds were set or `unseen`."""
    return _data()[part]


def foreign(part: str) -> list[str]:
    """Return phrases that are no task's, `foreign` or `fresh`."""
    return _data()[part]


def _data() -> dict:
    return json.loads(PARAPHRASES.read_text(encoding="utf-8"))


def found(encoder: Encoder, told: Phrases, asked: Phrases) -> dict[str, float]:
    """Return the share of asked phrases whose task is that of the nearest told phrase, or mean."""
    tasks = list(told)
    vectors = [encoder.encode(told[task]) for task in tasks]
    means = np.stack([v.mean(0) / np.linalg.norm(v.mean(0)) for v in vectors])
    right = {"nearest": 0, "mean": 0}
    for truth, phrases in asked.items():
        for heard in encoder.encode(phrases):
            nearest = max(range(len(tasks)), key=lambda task: float((vectors[task] @ heard).max()))
            right["nearest"] += tasks[nearest] == truth
            right["mean"] += tasks[int((means @ heard).argmax())] == truth
    total = sum(len(phrases) for phrases in asked.values())
    return {way: round(count / total, 3) for way, count in right.items()}


def taken(book: PhraseBook | MeaningBook, asked: Phrases) -> dict[str, int]:
    """Return how many phrases get what; the task "" stands for none's."""
    counts = {"right": 0, "named": 0, "refused": 0, "wrong": 0}
    for truth, phrases in asked.items():
        for match in map(book.match, phrases):
            if match.task is not None:
                counts["right" if match.task == truth else "wrong"] += 1
            else:
                named = truth in [task for task, _ in match.ranking[:CANDIDATES]]
                counts["named" if named else "refused"] += 1
    return counts


def apart(encoder: Encoder, told: Phrases) -> float:
    """Return variance between tasks over variance within them, centred and of length 1."""
    vectors = [encoder.encode(told[task]) for task in told]
    centre = np.mean([v.mean(0) for v in vectors], axis=0)
    units = [(v - centre) / np.linalg.norm(v - centre, axis=1, keepdims=True) for v in vectors]
    means = np.stack([unit.mean(0) for unit in units])
    between = np.square(means - means.mean(0)).sum(1).mean()
    within = np.mean([np.square(u - m).sum(1).mean() for u, m in zip(units, means, strict=True)])
    return round(float(between / within), 2)


def compare(names: Sequence[str]) -> tuple[dict[str, dict], list[str]]:
    """Return scores by encoder and set of phrases, and why an encoder is left out."""
    known, suite = known_phrases(), toy.instructions()
    both = {task: [*paraphrases("in_view")[task], *paraphrases("unseen")[task]] for task in known}
    toy_known, toy_asked = (
        {task: parts[split] for task, parts in suite.items()} for split in ("known", "held_out")
    )
    sets: dict[str, tuple[Phrases, Phrases]] = {
        "held_out": (known, held_out_phrases()),
        "paraphrases": (known, both),
        "toy": (toy_known, toy_asked),
    }
    scores, missing = {}, []
    for name in names:
        try:
            encoder = open_encoder(name)
        except NotInstalledError as error:
            missing.append(f"left out: {error}")
            continue
        scores[name] = {
            kind: {**found(encoder, *pair), "apart": apart(encoder, pair[0])}
            for kind, pair in sets.items()
        }
    return scores, missing


def answers() -> tuple[dict[str, dict], list[str]]:
    """Return what the robot makes of phrases, by book and set; and why a book is left out."""
    tasks = tuple(known_phrases())
    books: dict[str, PhraseBook | MeaningBook] = {"spelling": PhraseBook.shipped(tasks)}
    missing = []
    try:
        books["meaning"] = MeaningBook.shipped(tasks)
    except MissingEncoderError as error:
        missing.append(f"left out: {error}")
    sets = {"held_out": held_out_phrases(), "paraphrases": paraphrases("unseen")}
    sets |= {part: {"": foreign(part)} for part in ("foreign", "fresh")}
    return {
        n: {kind: taken(book, sets[kind]) for kind in sets} for n, book in books.items()
    }, missing


def main() -> int:
    """Print both tables and the JSON line."""
    try:
        config = from_command_line(
            lambda words: choose(words, {"retrieval": RetrievalConfig()}, "retrieval"), __doc__
        )
        if config is None:
            return 0
        scores, missing = compare(config.encoders)
        robot, absent = answers()
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(*dict.fromkeys([*missing, *absent]), sep="\n", end="\n" * bool(missing or absent))
    print(f"{'encoder':24} {'phrases':12} {'nearest':>8} {'mean':>8} {'apart':>8}")
    for name, kinds in scores.items():
        for kind, by in kinds.items():
            print(f"{name:24} {kind:12} {by['nearest']:8.2f} {by['mean']:8.2f} {by['apart']:8.2f}")
    print(
        f"\n{'robot, by':24} {'phrases':12} {'right':>8} {'named':>8} {'refused':>8} {'wrong':>8}"
    )
    for name, kinds in robot.items():
        for kind, n in kinds.items():
            print(
                f"{name:24} {kind:12} {n['right']:8} {n['named']:8} {n['refused']:8} {n['wrong']:8}"
            )
    print(json.dumps({"retrieval": scores, "robot": robot}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
