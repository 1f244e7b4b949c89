"""Changes of task: when they are told, and who counts as still up."""

from __future__ import annotations

import numpy as np

from distill.turns import EARLIEST, LATEST, WATCH, turns
from training.rows import Step


class World:
    """Robots that fall when their first joint is told 1."""

    def __init__(self, tasks, **words) -> None:
        self.tasks, self.words, self.rows = list(tasks), words, len(tasks)

    def reset(self, rows=None) -> np.ndarray:
        return np.zeros((self.rows, 51), np.float32)

    def step(self, action: np.ndarray) -> Step:
        none, zeros = np.zeros(self.rows, bool), np.zeros(self.rows, np.float32)
        return Step(self.reset(), zeros, action[:, 0] == 1.0, none, {})

    def close(self) -> None:
        pass


def tried(falls, episodes: int = 4):
    """Return the turns of a policy that falls as `falls(number, tasks [E])` says, and all tasks."""
    seen: list[np.ndarray] = []

    def act(observation: np.ndarray, task: np.ndarray) -> np.ndarray:
        seen.append(task.copy())
        action = np.zeros((len(task), 19))
        action[:, 0] = falls(len(seen) - 1, task)
        return action

    found = turns(
        act, ("stand", "walk"), action_map="stance", episodes=episodes, seed=0, world=World
    )
    return found, np.stack(seen)


def test_every_robot_is_told_the_other_task_once_between_two_and_four_seconds():
    found, seen = tried(lambda number, task: False)
    assert found == {"stand > walk": {"told": 4, "up": 4}, "walk > stand": {"told": 4, "up": 4}}
    assert len(seen) == LATEST + WATCH
    assert seen[0].tolist() == [0] * 4 + [1] * 4
    changes = (np.diff(seen, axis=0) != 0).sum(axis=0)
    assert (changes == 1).all()
    when = np.argmax(np.diff(seen, axis=0) != 0, axis=0) + 1
    assert (when >= EARLIEST).all() and (when < LATEST).all() and len(set(when.tolist())) > 1
    assert when[:4].tolist() == when[4:].tolist(), "every pair at the same times"


def test_a_task_that_falls_is_counted_where_it_was_told_and_not_where_it_came_first():
    found, _ = tried(lambda number, task: task == 1)
    assert found == {"stand > walk": {"told": 4, "up": 0}, "walk > stand": {"told": 0, "up": 0}}


def test_who_falls_long_after_the_change_has_made_it():
    last = LATEST + WATCH - 1
    found, _ = tried(lambda number, task: np.full(len(task), number == last))
    assert found["stand > walk"] == {"told": 4, "up": 4}


def test_a_single_task_has_no_turns():
    assert turns(lambda o, t: o, ("stand",), action_map="stance", episodes=2, seed=0) == {}
