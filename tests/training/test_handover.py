"""Episodes that begin in the state of another task's: what is taken over, and from whom."""

from __future__ import annotations

import numpy as np
import pytest

from training import demonstrate, performers
from training.cli import ConfigError
from training.contenders import contenders
from training.h1_env import H1Env
from training.handover import UPRIGHT, sources

NAMES = ["stand", "stand", "walk", "run"]


class Says:
    def __init__(self, word: float) -> None:
        self.word = word

    def begin(self, tasks, seed):
        self.tasks = tuple(tasks)
        return lambda observation, task: np.full((len(observation), 19), self.word)


def moving(**others) -> H1Env:
    """Four robots after a fifth of a second, each of which has moved its own way."""
    env = H1Env(NAMES, seed=0, action_map="stance", **others)
    action = np.random.default_rng(1).uniform(-0.5, 0.5, (4, 19)).astype(np.float32)
    for _ in range(10):
        env.step(action)
    return env


def test_without_a_share_nothing_is_drawn():
    rng = np.random.default_rng(0)
    assert sources(moving(), np.ones(4, bool), 0.0, rng) is None
    assert rng.random() == np.random.default_rng(0).random()


def test_only_upright_rows_of_other_tasks_that_go_on_hand_over():
    env, rng = moving(), np.random.default_rng(0)
    over = np.array([True, False, False, True])
    seen = {row: set() for row in range(4)}
    for _ in range(200):
        like = sources(env, over, 0.5, rng)
        assert like is not None
        for row in range(4):
            seen[row].add(int(like[row]))
    assert seen == {0: {-1, 2}, 1: {-1}, 2: {-1}, 3: {-1, 1, 2}}
    env.physics.qpos[2, 2] = UPRIGHT - 0.01
    like = sources(env, over, 1.0, rng)
    assert like is not None
    assert like.tolist() == [-1, -1, -1, 1], "nobody takes over from a robot that falls"


def test_a_row_begins_in_the_state_of_the_other_above_the_origin():
    env = moving()
    state, motion = env.qpos.copy(), env.qvel.copy()
    held = env._previous.copy()
    seen = env.reset(np.array([0]), np.array([2, -1, -1, -1]))
    np.testing.assert_array_equal(env.qpos[0, 2:], state[2, 2:])
    np.testing.assert_array_equal(env.qpos[0, :2], 0.0)
    np.testing.assert_array_equal(env.qvel[0], motion[2])
    np.testing.assert_array_equal(env._previous[0], held[2])
    np.testing.assert_allclose(seen[0, 2:26], state[2, 2:], atol=1e-6)
    np.testing.assert_array_equal(env.qpos[1:], state[1:])
    assert env._steps[0] == 0


@pytest.mark.parametrize("from_guarded", [True, False])
def test_a_guarded_row_goes_on_from_the_targets_that_were_written(from_guarded):
    env = moving(guarded=np.array([True, False, from_guarded, False]))
    env.reset(np.array([0]), np.array([2, -1, -1, -1]))
    expected = env.physics.written[2] if from_guarded else env._previous[2]
    np.testing.assert_array_equal(env.physics.written[0], expected)


def test_recorded_episodes_begin_where_a_visitor_was(monkeypatch):
    home = contenders("home", "stance")[0]
    words = {"rows": 3, "steps": 40, "episode_steps": 15, "noise": (0.3, 0.5)}
    starts = {}
    for share in (0.0, 1.0):
        config = demonstrate.DemonstrateConfig(
            **words, handover=share, before=("walk", "stand") if share else ()
        )
        parts = demonstrate.record(home, "stand", config)
        assert len(parts["last"]) == 3 * 40 + parts["last"].sum()
        first = np.flatnonzero(parts["last"])[:-1] + 1
        first = first[first < len(parts["last"])]
        starts[share] = np.abs(parts["observation"][first][:, 26:51]).max()
    assert starts[0.0] == 0.0, "an own start is at rest"
    assert starts[1.0] > 0.0


def test_a_recording_is_told_both_how_often_and_from_whom():
    with pytest.raises(ConfigError, match=r"handover=0.5 and before=\[\]: .*give both or neither"):
        demonstrate.DemonstrateConfig(handover=0.5)
    with pytest.raises(ConfigError, match=r"brake_speed=1.5 and brake_policy=''"):
        demonstrate.DemonstrateConfig(brake_speed=1.5)


def test_a_fast_robot_is_shown_walking_before_it_is_shown_standing():
    slow, fast = Says(0.1), Says(0.9)
    who = demonstrate.Contender("who", "stance", ("stand",), slow.begin)
    walker = demonstrate.Contender("walker", "stance", ("walk", "run"), fast.begin)
    act = performers.braking(who, walker, 1.5).begin(("stand",), 0)
    seen = np.zeros((3, 51), np.float32)
    seen[1, 26], seen[2, 26:28] = 1.4, (-1.2, 1.2)
    assert act(seen, np.zeros(3, np.int64))[:, 0].tolist() == [0.1, 0.1, 0.9]
    assert (slow.tasks, fast.tasks) == (("stand",), ("walk",))


def test_in_company_everyone_acts_in_his_own_task():
    members = {
        "stand": demonstrate.Contender("a", "stance", ("stand",), Says(0.1).begin),
        "run": demonstrate.Contender("b", "stance", ("run",), Says(0.7).begin),
    }
    both = performers.company(members)
    assert (both.tasks, both.action_map) == (("stand", "run"), "stance")
    act = both.begin(("run", "stand"), 0)
    action = act(np.zeros((3, 51)), np.array([1, 0, 1]))
    np.testing.assert_allclose(action[:, 0], [0.1, 0.7, 0.1])
    members["run"] = demonstrate.Contender("b", "home", ("run",), Says(0.7).begin)
    with pytest.raises(ConfigError, match=r"different action maps: .*'run': 'home'"):
        performers.company(members)


def test_only_the_tasks_named_for_it_brake():
    words = {"policy": "home", "brake_policy": "home", "brake_speed": 1.0}
    config = demonstrate.DemonstrateConfig(**words)
    names = {name: demonstrate.label_of(config, name)[0].name for name in ("stand", "run")}
    assert names == {"stand": "home, braking", "run": "home"}


def test_who_acts_before_must_know_the_task():
    config = demonstrate.DemonstrateConfig(policy="home", handover=0.5, before=("walk",))
    home = contenders("home", "stance")[0]
    narrow = demonstrate.Contender("narrow", "stance", ("stand",), home.begin)
    assert demonstrate.cast(config, "stand", home) == (None, None)
    with pytest.raises(ConfigError, match=r"before=\['walk'\]: narrow knows \('stand',\)"):
        demonstrate.cast(config, "stand", narrow)
