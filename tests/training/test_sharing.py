"""Experience shared between tasks: whose reward lies in which buffer, and what is drawn from it."""

import dataclasses

import numpy as np
import pytest
import torch

from training.agent import build_model
from training.cli import ConfigError
from training.collector import Collector, Duty, open_env
from training.episodes import Episodes
from training.h1_env import H1Env
from training.metrics import Averages
from training.planner import PlannerConfig
from training.presets import PRESETS, load_config
from training.replay import Replay
from training.saturation import Saturation
from training.scheduler import make_scheduler
from training.trainer import Trainer

WINDOW, ROWS, STEPS = 7, 2, 25
TASKS = ("stand", "walk", "run")
WORDS = ["preset=debug", "tasks=[stand,walk,run]", "collect.envs_per_task=2"]


@pytest.fixture(scope="module")
def collected():
    """Replay after 25 random steps of two robots a task; the actions that were taken, [S, 6, A]."""
    config = load_config([*WORDS, "replay.shared=true", "collect.episode_steps=1000",
                          "collect.fall_height=0", "collect.delay_substeps=[0,0]"])  # fmt: skip
    config = dataclasses.replace(config, schedule=PRESETS["debug"].schedule)
    duty = Duty.of(config, np.repeat(np.arange(3), ROWS), 1000)
    model = build_model(config, 51, 19)
    planner = PlannerConfig.of(config.search, config.proposals, config.targets)
    env = open_env(H1Env, config, duty, seed=5)
    collector = Collector(
        config, model, planner, duty, env, np.random.default_rng(0), torch.Generator()
    )
    replay = Replay(3, ROWS, 51, 19, WINDOW, config.replay)
    episodes = Episodes(
        config, replay, make_scheduler(config.schedule, 3, ()), Averages(), duty.task,
        collector.observation, duty.step_limit, Saturation(3, 0.0),
    )  # fmt: skip
    actions = []
    for _ in range(STEPS):
        moment = collector.step(random=True, progress=0.0)
        assert not moment.done.any()
        actions.append(moment.action)
        episodes.add(moment, random=True)
    episodes.close()
    return replay, np.array(actions)


@pytest.mark.parametrize("task", range(3))
def test_a_buffer_holds_every_robot_with_its_own_tasks_reward(collected, task):
    replay, actions = collected
    env = H1Env([TASKS[task]] * 6, seed=5, action_map="stance")
    env.reset()  # as the collector did
    buffer = replay.buffers[task]
    for step, action in enumerate(actions):
        np.testing.assert_allclose(buffer.reward[:, step], env.step(action).reward, rtol=1e-5)
    assert buffer.last[:, STEPS].all()
    assert not buffer.terminal[:, STEPS].any()
    np.testing.assert_array_equal(buffer.own, np.repeat(np.arange(3), ROWS) == task)


def test_drawn_windows_say_whose_policy_acted(collected):
    replay, _ = collected
    batch = replay.sample(300, np.random.default_rng(0))
    row = batch.place[1]
    np.testing.assert_array_equal(batch.own, row // ROWS == batch.task)
    assert 0.2 < batch.own.mean() < 0.47


def test_a_shared_run_learns_and_resumes_to_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "_evaluate", lambda self: None)
    found = []
    for name, limits in (("one", (0,)), ("two", (1e-9, 0))):
        for limit in limits:  # the first one stops after a segment
            words = [*WORDS, "replay.shared=true", f"out={tmp_path / name}", f"max_minutes={limit}"]
            run = Trainer(load_config(words))
            run.run()
        assert run.learner.updates == 40
        found.append(run.learner.model.state_dict())
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])


@pytest.mark.parametrize(
    "words", [["suite=real"], ["tasks=[stand,stair]"], ["schedule.kind=learning_progress"]]
)
def test_what_cannot_be_shared_is_refused(words):
    with pytest.raises(ConfigError, match="shared"):
        load_config(["preset=debug", *words, "replay.shared=true"])
