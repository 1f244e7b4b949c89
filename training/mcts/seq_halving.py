"""The sequential-halving schedule as plain integers; knows no tensors.

A *round* visits each of the first `width` survivors once. Visits within a round fall into
different subtrees of the root, so a round is one batched network call.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Round:
    """One visit to each of the first `width` of `survivors` root actions."""

    survivors: int
    width: int
    halve_after: bool  # keep the better half of the survivors once this round is backed up


def halving_rounds(simulations: int, root_actions: int) -> tuple[Round, ...]:
    """Return the rounds that spend `simulations` visits on `root_actions` candidates.

    The budget of a phase with S survivors is max(1, floor(N / (P S))) S visits with
    P = ceil(log2 K) phases; the last phase takes what is left (EZ-M, HEAD of the release).

    Raises:
        ValueError: fewer simulations than candidates, or no candidate.
    """
    if root_actions < 1 or simulations < root_actions:
        raise ValueError(
            f"a search needs at least as many simulations as root actions and one root action; "
            f"got simulations={simulations}, root_actions={root_actions}"
        )
    phases = max(1, math.ceil(math.log2(root_actions)))
    rounds: list[Round] = []
    spent, survivors = 0, root_actions
    for phase in range(phases):
        budget = max(1, simulations // (phases * survivors)) * survivors
        left = simulations - spent
        visits = left if phase == phases - 1 else min(budget, left)
        spent += visits
        while visits > 0:
            width = min(survivors, visits)
            visits -= width
            rounds.append(Round(survivors, width, halve_after=visits == 0 and survivors >= 2))
        if survivors >= 2:
            survivors //= 2
        if spent >= simulations:
            break
    return tuple(rounds)
