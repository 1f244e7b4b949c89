"""Published HumanoidBench returns, to stand beside ours. Other protocols: a scale, not a contest.

Read out of the result files that the EZ-M, BRC and SimbaV2 authors published: h1 without hands
where a task has such results, h1 with hands (marked) for the others. EZ-M: mean of three seeds over
the last five evaluations, a million environment steps per task, no termination; TD-MPC2 and SAC: a
million steps, one task, with termination.
"""

from __future__ import annotations

from typing import NamedTuple


class Anchor(NamedTuple):
    """Returns on one task."""

    bar: float  # of success
    random: float
    ezm: float
    tdmpc2: float
    sac: float | None = None
    hands: bool = False


ANCHORS: dict[str, Anchor] = {
    "stand": Anchor(800, 11, 777, 799, 452),
    "walk": Anchor(700, 2, 801, 814, 58),
    "run": Anchor(700, 2, 772, 779, 49),
    "stair": Anchor(700, 3, 428, 378, 39),
    "crawl": Anchor(700, 273, 823, 963, 564),
    "pole": Anchor(700, 20, 858, 744, 381),
    "slide": Anchor(700, 3, 534, 334, 68),
    "hurdle": Anchor(700, 2, 489, 387, 11),
    "maze": Anchor(1200, 106, 376, 245, 276),
    "sit_simple": Anchor(750, 11, 808, 681, hands=True),
    "sit_hard": Anchor(750, 2, 251, 202, hands=True),
    "balance_simple": Anchor(800, 10, 84, 71, hands=True),
    "balance_hard": Anchor(800, 10, 56, 59, hands=True),
    "reach": Anchor(12000, -50, 4448, 4813, hands=True),
}
HEADS = ("bar", "random", "EZ-M, published", "TD-MPC2", "SAC")
NOTE = (
    "Published figures are for the benchmark's own action map, a million steps per task and other "
    "protocols: they say how far there is to go, not who is better. * with hands."
)


def cells(task: str) -> list[str]:
    """Return the published figures of a task as a table's cells; dashes for an unknown task."""
    found = ANCHORS.get(task.rpartition("-")[2])
    if found is None:
        return ["-"] * len(HEADS)
    mark = "*" if found.hands else ""
    values = (found.bar, found.random, found.ezm, found.tdmpc2, found.sac)
    return ["-" if value is None else f"{value:.0f}{mark}" for value in values]
