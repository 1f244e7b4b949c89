"""The task that a person's words mean to a policy: a task's name, or a phrase like "walk ahead".

One place for every door: the command lines, the ROS node's parameter and its topic. Knows no robot.
"""

from __future__ import annotations

import functools

from runtime.language import PhraseBook
from runtime.spec import PolicySpec, SpecError


def task_of(said: str, spec: PolicySpec) -> str:
    """Return the name of the policy's task that was meant; SpecError with the list if none was."""
    if said in spec.tasks:
        return said
    match = phrase_book(spec.tasks).match(said)
    if match.task is None:
        raise SpecError(
            f"task '{said}' is not one of policy '{spec.name}': {list(spec.tasks)} ({match.reason})"
        )
    return match.task


@functools.lru_cache(maxsize=8)
def phrase_book(tasks: tuple[str, ...]) -> PhraseBook:
    """Return the shipped phrases for a policy of these tasks; the first time takes some 50 ms."""
    return PhraseBook.shipped(tasks)
