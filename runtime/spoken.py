"""The task that a person's words mean to a policy: a task's name, or a phrase like "walk ahead".

One place for every door: the command lines, the ROS node's parameter and its topic. Knows no robot.
"""

from __future__ import annotations

import functools

from runtime.language import PhraseBook
from runtime.meaning import MeaningBook
from runtime.minilm import MissingEncoderError
from runtime.spec import PolicySpec, SpecError

WAYS = ("spelling", "meaning")  # in which phrases are understood


def task_of(said: str, spec: PolicySpec, phrases: str = "spelling") -> str:
    """Return the name of the policy's task that was meant; SpecError with the list if none was.

    `phrases`: by their `spelling`, or by their `meaning` too, which needs an encoder's weights.
    """
    if said in spec.tasks:
        return said
    match = phrase_book(spec.tasks, phrases).match(said)
    if match.task is None:
        raise SpecError(
            f"task '{said}' is not one of policy '{spec.name}': {list(spec.tasks)} ({match.reason})"
        )
    return match.task


@functools.lru_cache(maxsize=8)
def phrase_book(tasks: tuple[str, ...], phrases: str = "spelling") -> PhraseBook | MeaningBook:
    """Return the shipped phrases for a policy of these tasks.

    The first time takes some 50 ms, by meaning seconds of a core; SpecError if that encoder is
    missing or there is no such way.
    """
    if phrases not in WAYS:
        raise SpecError(f"phrases={phrases!r}; there are {', '.join(WAYS)}")
    if phrases == "spelling":
        return PhraseBook.shipped(tasks)
    try:
        return MeaningBook.shipped(tasks)
    except MissingEncoderError as error:
        raise SpecError(f"phrases=meaning: {error}; or leave phrases=spelling") from None
