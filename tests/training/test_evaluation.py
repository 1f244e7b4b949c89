"""Scores of a policy, on the point mass where they can be worked out by hand."""

import numpy as np
import pytest

from training.evaluation import Score, evaluate, worth
from training.rows import Step


class Clock:
    """Row i ends at step i + 1 (terminated if i is even, else truncated); rewards count steps."""

    def __init__(self, tasks, *, seed, action_map, terminate, max_steps, delay_substeps):
        self.rows, self.now = len(tasks), 0
        self.told = (tuple(tasks), seed, action_map, terminate, max_steps, delay_substeps)
        type(self).last = self

    def reset(self, rows=None):
        assert rows is None
        return np.zeros((self.rows, 2), np.float32)

    def step(self, action):
        assert action.dtype == np.float32
        self.now += 1
        over = self.now > np.arange(self.rows)
        even = np.arange(self.rows) % 2 == 0
        reward = np.full(self.rows, float(self.now), np.float32)
        return Step(np.full((self.rows, 2), self.now, np.float32), reward, over & even,
                    over & ~even, {})  # fmt: skip

    def close(self):
        self.closed = True


def run(act, **options):
    return evaluate(act, ("a", "b"), episodes=2, seed=3, action_map="home", make_env=Clock,
                    **options)  # fmt: skip


def test_rewards_count_until_the_episode_ends_for_either_reason():
    # row i collects 1 + 2 + ... + (i + 1)
    scores = run(lambda o, t: np.zeros((len(o), 2)))
    assert scores["a"] == Score("a", (1.0, 3.0), (1, 2))
    assert scores["b"] == Score("b", (6.0, 10.0), (3, 4))
    assert (scores["b"].mean, scores["b"].std, scores["b"].length) == (8.0, 2.0, 3.5)
    assert Clock.last.closed


def test_the_policy_sees_the_task_of_each_row_and_the_newest_observation():
    seen = []

    def act(observation, task):
        assert task.tolist() == [0, 0, 1, 1]
        seen.append(float(observation[0, 0]))
        return np.zeros((4, 2))

    run(act)
    assert seen == [0.0, 1.0, 2.0, 3.0]


def test_the_environment_is_told_the_protocol():
    run(lambda o, t: np.zeros((4, 2)), terminate=False, steps=77, delay_substeps=(1, 2))
    assert Clock.last.told == (("a", "a", "b", "b"), 3, "home", False, 77, (1, 2))


@pytest.mark.parametrize("task", ["left", "up"])
def test_equal_seeds_give_equal_scores(toy, task):
    one, two, other = (
        evaluate(lambda o, t: np.zeros_like(o), (task,), episodes=3, seed=seed, action_map="home",
                 steps=5, make_env=toy.Env)
        for seed in (1, 1, 2)
    )  # fmt: skip
    assert one == two
    assert one != other


def test_worth_is_the_mean_share_of_the_bars_and_no_task_makes_up_for_another():
    def of(**returns):
        return worth({name: Score(name, (value,), (1000,), 0) for name, value in returns.items()})

    assert of(stand=800.0) == of(stand=900.0) == 1.0
    assert of(stand=11.0, walk=2.0) == 0.0
    assert of(stand=900.0, walk=351.0) == pytest.approx(0.75)
    assert worth({"h1hand-stand": Score("h1hand-stand", (405.5,), (1000,), 0)}) == 0.5
    assert of(left=0.3) == 0.3
