"""Lock-step episodes: deterministic, and the guard's simulated limits change nothing in them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from runtime.guard import GuardConfig
from runtime.lockstep import evaluate_lockstep
from runtime.policy import load_policy
from runtime.spec import spec_for_h1


class Script:
    """A policy that answers with random full-range actions: the worst case for the guard."""

    def __init__(self, action_map: str, seed: int) -> None:
        self.spec = spec_for_h1("script", ("stand", "walk"), action_map, history=1)
        self._random = np.random.default_rng(seed)

    def infer(self, observation: np.ndarray) -> np.ndarray:
        return self._random.uniform(-1, 1, 19).astype(np.float32)


def test_the_home_pose_falls_where_the_benchmark_says_it_does(make_policy):
    policy = load_policy(make_policy())
    episodes = [evaluate_lockstep(policy, "stand", seed) for seed in range(5)]
    assert all(episode.fell for episode in episodes)
    lengths = [episode.length for episode in episodes]
    assert lengths == [96, 76, 85, 77, 78]  # humanoidbench.md section 7, same seeds
    assert np.mean([episode.total for episode in episodes]) == pytest.approx(54.9, abs=0.5)


def test_the_same_seed_gives_the_same_episode_and_another_does_not(make_policy):
    policy = load_policy(make_policy(scale=0.02))
    first = evaluate_lockstep(policy, "stand", 1, 100)
    assert evaluate_lockstep(policy, "stand", 1, 100) == first
    assert evaluate_lockstep(policy, "stand", 2, 100).total != first.total


@pytest.mark.parametrize("action_map", ["home", "benchmark"])
@pytest.mark.parametrize("seed", range(3))
def test_the_guard_does_not_touch_a_simulated_policy(action_map, seed):
    """Full-range steps every 20 ms: rate and torque clamps leave the drives' force as it was.

    Not to the last bit, so the two diverge as chaos has it: 1e-3 after 60 steps.
    """
    free = evaluate_lockstep(Script(action_map, seed), "stand", seed, 60, guard=None)
    guarded = evaluate_lockstep(Script(action_map, seed), "stand", seed, 60)
    assert guarded.length == free.length
    assert guarded.total == pytest.approx(free.total, rel=1e-3)
    assert "rate" not in guarded.findings


def test_a_hardware_rate_limit_would_be_seen():
    free = evaluate_lockstep(Script("home", 0), "stand", 0, 60, guard=None)
    tight = dataclasses.replace(GuardConfig.simulated(), rate_limit=5.0)
    slow = evaluate_lockstep(Script("home", 0), "stand", 0, 60, guard=tight)
    assert slow.findings["rate"] > 0
    assert slow.total != pytest.approx(free.total, rel=1e-3)


def test_the_guard_s_torque_clamp_bounds_what_the_drives_are_asked_for():
    wild = evaluate_lockstep(Script("benchmark", 0), "stand", 0, 30)
    assert wild.findings["torque"] > 0


def test_a_delay_of_a_whole_step_shifts_the_actions(make_policy):
    policy = load_policy(make_policy(scale=0.02))
    prompt, late = (evaluate_lockstep(policy, "stand", 0, 60, delay_ticks=d) for d in (0, 3))
    assert prompt.total != late.total


def test_the_episode_ends_when_the_policy_gives_no_number(make_policy):
    class Silent(Script):
        def infer(self, observation: np.ndarray) -> np.ndarray:
            return np.full(19, np.nan, np.float32)

    episode = evaluate_lockstep(Silent("home", 0), "stand", 0, 20)
    assert episode.length == 0
