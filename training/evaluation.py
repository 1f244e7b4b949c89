"""Score a policy on tasks: seeded episodes, both termination protocols."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from training.h1_env import H1Env, Step

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
) -> dict[str, Score]:
    """Run `episodes` episodes per task side by side and return their scores by task.

    `act` sees every row at every step, also rows whose episode is over.
    """
    rows = [task for task in tasks for _ in range(episodes)]
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
    while running.any():
        step = env.step(act(observation, index).astype(np.float32))
        returns += np.where(running, step.reward, 0.0)
        lengths += running
        running &= ~(step.terminated | step.truncated)
        observation = step.obs
    env.close()
    return {
        task: Score(task, tuple(returns[index == i].tolist()), tuple(lengths[index == i].tolist()))
        for i, task in enumerate(tasks)
    }
