"""Episodes that begin where another task was going on: how to stop, not only how to stand.

A robot that is told to stand while it walks is in a state that no episode of `stand` begins with.
Where rows of several tasks run side by side, some of them begin in the state of another's row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.h1_env import H1Env
from training.rows import Bools

UPRIGHT = 0.85  # m of the pelvis; whoever is lower is falling, and hands nothing over


def sources(
    env: H1Env, over: Bools, share: float, rng: np.random.Generator
) -> NDArray[np.int64] | None:
    """Return for `H1Env.reset` which row [E] each row that is over begins like, -1: as ever.

    over: [E], the rows that begin anew. share: of them, those that begin in the state of a row of
    another task, drawn from those that go on and are upright. None where share is 0.
    """
    if not share:
        return None
    like = np.full(env.num_envs, -1, np.int64)
    goes_on = ~over & (env.qpos[:, 2] > UPRIGHT)
    for row in np.flatnonzero(over & (rng.random(env.num_envs) < share)).tolist():
        others = [env.task_names[row] != name for name in env.task_names]
        found = np.flatnonzero(goes_on & others)
        if len(found):
            like[row] = rng.choice(found)
    return like
