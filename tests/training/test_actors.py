"""engine=ray, on a cluster of several processes on this machine: the ratio, deaths, the numbers."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from training.cli import ConfigError
from training.config import RayConfig
from training.toy import GOALS, SIZE, PointMass, move, rotation
from training.trainer import Trainer

try:
    import ray
except ModuleNotFoundError:
    ray = None

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(
        ray is None,
        reason="NOT TESTED HERE: engine=ray; pip install -c constraints.txt -e '.[ray]'",
    ),
]
TASKS = tuple(GOALS)[:3]


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """Begin one cluster for all of these runs; which do not end what they did not begin."""
    assert ray is not None
    ray.init(address="local", num_cpus=4, include_dashboard=False)
    yield
    ray.shutdown()


@pytest.fixture(autouse=True)
def _no_evaluation(monkeypatch):
    monkeypatch.setattr(Trainer, "_evaluate", lambda self: None)


@pytest.fixture
def train(toy, tmp_path):
    """Return what builds a run on the point mass with two collectors and a re-analyser."""

    def build(out, engine="ray", make_env=PointMass, **more):
        settings = RayConfig(**{"steps": 1, "batches": 3} | more)
        config = toy.tiny(tmp_path / out, tasks=TASKS, engine=engine, ray=settings)
        return Trainer(config, make_env=make_env, sizes=(SIZE, SIZE))

    return build


def weights(run):
    state = run.learner.model.state_dict() | {
        f"average.{name}": tensor for name, tensor in run.learner.average.state_dict().items()
    }
    return {name: tensor.clone() for name, tensor in state.items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def watch_the_ratio(run, monkeypatch):
    """Assert at every update that it is due, at every step that no update is."""
    learn, collect, ratio = run._learn, run._collect, run.config.update_ratio

    def learned():
        assert run.learner.updates < ratio * run.steps
        learn()

    def collected(random):
        assert random or run.learner.updates >= ratio * run.steps
        collect(random)

    monkeypatch.setattr(run, "_learn", learned)
    monkeypatch.setattr(run, "_collect", collected)


def metrics(run):
    return [json.loads(line) for line in (run.run_folder / "metrics.jsonl").open()]


def test_actors_take_the_updates_and_steps_of_one_process_and_their_deaths_are_counted(
    train, monkeypatch
):
    local = train("local", engine="local")
    local.run()
    run = train("run")
    watch_the_ratio(run, monkeypatch)
    learn = run._learn

    def with_deaths():
        if run.learner.updates == 5:
            ray.kill(run.engine.collectors[1])
        if run.learner.updates == 9:
            ray.kill(run.engine.reanalysers[0])
        learn()

    monkeypatch.setattr(run, "_learn", with_deaths)
    run.run()
    assert (run.learner.updates, run.steps) == (local.learner.updates, local.steps)
    rows = metrics(run)
    assert [row["updates"] for row in rows] == [4, 8, 12]
    assert all(math.isfinite(row["loss"]) for row in rows)
    assert [row["actor_restarts"] for row in rows] == [0, 1, 2]
    assert all(tensor.isfinite().all() for tensor in weights(run).values())
    assert check_physics(run) == 3 * run.steps  # nothing lost, nothing of two lives joined


def check_physics(run):
    """Assert that every stored frame follows from the one before it; return how many do."""
    checked = 0
    for task, buffer in zip(TASKS, run.replay.buffers, strict=True):
        for row in range(buffer.rows):
            count = int(buffer.written[row])
            assert buffer.last[row, count - 1]
            for i in np.flatnonzero(~buffer.last[row, : count - 1]):
                place = move(buffer.observation[row, i], buffer.action[row, i], rotation())
                np.testing.assert_allclose(buffer.observation[row, i + 1], place, atol=1e-5)
                distance = np.linalg.norm(place - GOALS[task])
                assert buffer.reward[row, i] == pytest.approx(max(0, 1 - distance / 1.5), abs=1e-5)
                checked += 1
    return checked


def test_an_interrupted_run_ends_with_the_same_numbers_with_any_number_of_reanalysers(
    train, monkeypatch, pull_the_plug
):
    several = {"steps": 2, "batches": 2}
    straight = train("straight", **several)
    watch_the_ratio(straight, monkeypatch)
    straight.run()
    broken = train("broken", **several)
    pull_the_plug(broken, 6)
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    rest = train("broken", reanalysers=2, **several)
    assert rest.learner.updates == 4
    rest.run()
    assert same(weights(straight), weights(rest))
    assert straight.steps == rest.steps


class Nonsense(PointMass):
    """Raises in the actor that steps it."""

    def step(self, action):
        raise FloatingPointError("no row's action is finite")


def test_what_an_actor_raises_is_raised_here_and_is_no_death(train):
    run = train("nonsense", make_env=Nonsense, reanalysers=0)
    run.config = dataclasses.replace(
        run.config, collect=dataclasses.replace(run.config.collect, random_steps=0)
    )
    run.pace.fill, run.pace.random_first = 0, False
    with pytest.raises(FloatingPointError, match="no row's action is finite"):
        run.run()
    assert run.engine.restarts == 0


def test_more_actors_than_the_cluster_has_cpus_are_refused(train):
    run = train("many", collectors=3, reanalysers=2)
    with pytest.raises(ConfigError, match=r"ray.collectors=3 and ray.reanalysers=2.*has 4"):
        run.run()


def test_an_address_where_nobody_answers_is_refused_at_once(monkeypatch):
    from training.actors import connect

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(ConfigError, match=r"ray.address='127.0.0.1:9'.*refused"):
        connect(RayConfig(address="127.0.0.1:9"))
