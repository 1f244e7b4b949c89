"""Published returns on HumanoidBench, to stand beside ours.

EZ-M: the mean of the last five evaluations (one episode each) of three seeds at 1e6 steps of each
task, from the JSON of its official release. The others: from the result files in the repositories
of BRC (multi-task), TD-MPC2 (one task a run) and SimbaV2 (one task a run, every action held for two
steps), at 1e6 steps of each task. TD-MPC2 and SimbaV2 end an episode by the task's rule, EZ-M does
not; all act on HumanoidBench's own action map, with its simulator.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from training.evaluation import normalised

STEPS = 1000  # of their episodes
METHODS = ("EZ-M", "BRC", "TD-MPC2", "SimbaV2")
_ROWS: dict[str, tuple[float | None, ...]] = {  # task -> returns in the order of METHODS
    "stand": (777, 693, 799, 814),
    "walk": (801, 723, 814, 846),
    "run": (772, 354, 779, 416),
    "stair": (428, 326, 378, 493),
    "crawl": (823, 847, 963, 947),
    "pole": (858, 794, 744, 792),
    "slide": (534, 546, 334, 488),
    "hurdle": (489, 130, 387, 202),
    "maze": (376, 314, 245, 314),
    "h1hand-stand": (872, 621, 333, None),
    "h1hand-walk": (907, 442, 288, None),
    "h1hand-run": (746, 148, 56, None),
    "h1hand-stair": (354, 51, 55, None),
    "h1hand-crawl": (632, 533, 692, None),
    "h1hand-pole": (811, 410, 114, None),
    "h1hand-slide": (457, 187, 103, None),
    "h1hand-hurdle": (363, 92, 51, None),
    "h1hand-maze": (374, 312, 143, None),
    "h1hand-sit_simple": (808, 785, 681, None),
    "h1hand-sit_hard": (251, 489, 202, None),
    "h1hand-balance_simple": (84, 86, 71, None),
    "h1hand-balance_hard": (56, 67, 59, None),
    "h1hand-reach": (4448, 2871, 4813, None),
}
PUBLISHED: dict[str, dict[str, float]] = {method: {} for method in METHODS}
for _task, _row in _ROWS.items():
    for _method, _value in zip(METHODS, _row, strict=True):
        if _value is not None:
            PUBLISHED[_method][_task] = float(_value)


def of(names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return the returns by method and task, of the methods that have all of these tasks."""
    return {
        method: {name: known[name] for name in names}
        for method, known in PUBLISHED.items()
        if all(name in known for name in names)
    }


def table(who: str, ours: Mapping[str, float], others: Mapping[str, Mapping[str, float]]) -> str:
    """Return lines of `ours`, the returns of `who` by task, beside those that `of` found."""
    if not others:
        return "nobody's returns on all of these tasks are known here"
    columns = {"ours": ours, **others}
    width = max(len("normalised"), *(len(name) for name in ours)) + 2
    lines = [
        f"ours ({who}) beside published returns at 1e6 steps of each task; whose and how they were",
        "measured is in training/published.py",
        "".join([" " * width, *(f"{column:>10}" for column in columns)]),
    ]
    for name in ours:
        cells = (f"{values[name]:>10.0f}" for values in columns.values())
        lines.append("".join([f"{name:{width}}", *cells]))
    for text, most in (("normalised", math.inf), ("clipped", 1.0)):
        means = (
            sum(min(normalised(name, values[name]), most) for name in ours) / len(ours)
            for values in columns.values()
        )
        lines.append("".join([f"{text:{width}}", *(f"{mean:>10.3f}" for mean in means)]))
    return "\n".join(lines)
