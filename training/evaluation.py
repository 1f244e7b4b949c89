"""Score a policy on tasks: seeded episodes, both termination protocols."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from training.h1_env import H1Env
from training.rows import Step
from training.tasks import base, task

# observation [E, O], task index [E] -> action [E, A]
ActFunction = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Env(Protocol):
    """A batch of environments as training and evaluation use it; nothing resets by itself."""

    def reset(self, rows: np.ndarray | None = None) -> np.ndarray: ...

    def step(self, action: np.ndarray) -> Step: ...

    def close(self) -> None: ...


MakeEnv = Callable[..., Env]  # takes the arguments of H1Env


@dataclass(frozen=True)
class Score:
    """Returns and lengths of the episodes of one task."""

    task: str
    returns: tuple[float, ...]
    lengths: tuple[int, ...]
    failures: int = 0  # episodes that the simulation's breakdown ended

    @property
    def mean(self) -> float:
        return float(np.mean(self.returns))

    @property
    def std(self) -> float:
        return float(np.std(self.returns))

    @property
    def length(self) -> float:
        return float(np.mean(self.lengths))


def evaluate(
    act: ActFunction,
    tasks: Sequence[str],
    *,
    episodes: int,
    seed: int,
    action_map: str,
    terminate: bool = True,
    steps: int = 1000,
    delay_substeps: tuple[int, int] = (0, 0),
    make_env: MakeEnv = H1Env,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Score]:
    """Run `episodes` episodes per task side by side and return their scores by task.

    `act` sees every row at every step, also rows whose episode is over. `progress` is told after
    every step how many were taken and how many episodes still run.
    """
    rows = [name for name in tasks for _ in range(episodes)]
    index = np.repeat(np.arange(len(tasks)), episodes)
    env = make_env(
        rows,
        seed=seed,
        action_map=action_map,
        terminate=terminate,
        max_steps=steps,
        delay_substeps=delay_substeps,
    )
    observation = env.reset()
    running = np.ones(len(rows), bool)
    returns, lengths = np.zeros(len(rows)), np.zeros(len(rows), int)
    failed = np.zeros(len(rows), bool)
    while running.any():
        step = env.step(act(observation, index).astype(np.float32))
        returns += np.where(running, step.reward, 0.0)
        lengths += running
        observation = step.obs
        if step.failed is not None:
            failed |= step.failed & running
            observation = env.reset(step.failed)
        running &= ~(step.terminated | step.truncated)
        if progress:
            progress(int(lengths.max()), int(running.sum()))
    env.close()
    return {
        name: Score(
            name,
            tuple(returns[index == i].tolist()),
            tuple(lengths[index == i].tolist()),
            int(failed[index == i].sum()),
        )
        for i, name in enumerate(tasks)
    }


# Returns of a random policy as published with SimbaV2 (the last five from the robot with hands).
RANDOM_RETURN = {
    "stand": 11.0, "walk": 2.0, "run": 2.0, "stair": 3.0, "crawl": 273.0, "pole": 20.0,
    "slide": 3.0, "hurdle": 2.0, "maze": 106.0, "sit_simple": 11.0, "sit_hard": 2.0,
    "balance_simple": 10.0, "balance_hard": 10.0, "reach": -50.0,
}  # fmt: skip


def normalised(name: str, value: float) -> float:
    """Return 0 for the return of a random policy, 1 for the task's success bar.

    A robot with hands counts as one without; of a task that we have no scale for, nan.
    """
    known = base(name)
    if known not in RANDOM_RETURN:
        return float("nan")
    low = RANDOM_RETURN[known]
    return (value - low) / (task(known).success_bar - low)


def worth(scores: dict[str, Score]) -> float:
    """Return one number for several tasks: the mean of their normalised returns, 1 at most each.

    A task that we have no scale for counts by its return.
    """
    found = {name: normalised(name, score.mean) for name, score in scores.items()}
    values = [
        scores[name].mean if np.isnan(value) else min(value, 1.0) for name, value in found.items()
    ]
    return float(np.mean(values))
