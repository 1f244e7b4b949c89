"""What the training tests share: a toy world that checks how it is used, a small model, doors."""

import dataclasses

import numpy as np
import pytest
import torch

from training.config import ModelConfig, ProposalConfig, TrainConfig
from training.mcts import SearchConfig
from training.presets import PRESETS
from training.reanalyse import TrainingBatch
from training.rows import Step
from training.world_model import WorldModel

GOALS = {
    "left": np.array([-0.6, 0.0, 0.3]),
    "right": np.array([0.6, -0.3, 0.0]),
    "up": np.array([0.0, 0.5, -0.5]),
}
SPEED = 0.15  # distance per step at full action, per axis
SIZES = (3, 3)


class PointMass:
    """A point in [-1, 1]^3 moved by its action; the reward is 1 at the task's goal, less afar.

    The goal is not observed: only the task index tells it. Takes H1Env's arguments.
    """

    made = 0

    def __init__(self, tasks, *, seed, action_map="home", threads=1, terminate=False,
                 max_steps=1000, delay_substeps=(0, 0)):  # fmt: skip
        type(self).made += 1
        self.goal = np.stack([GOALS[name] for name in tasks])
        self.rng = np.random.default_rng(seed)
        self.terminate, self.max_steps = terminate, max_steps
        self.position = np.zeros((len(tasks), 3))
        self.age = np.zeros(len(tasks), int)
        self.over = np.ones(len(tasks), bool)  # must be reset before the next step

    def reset(self, rows=None):
        rows = np.ones(len(self.goal), bool) if rows is None else rows
        self.position[rows] = self.rng.uniform(-1.0, 1.0, (int(rows.sum()), 3))
        self.age[rows], self.over[rows] = 0, False
        return self.position.astype(np.float32)

    def step(self, action):
        assert action.dtype == np.float32
        assert np.abs(action).max() <= 1.0
        self.position, reward = point_mass(self.position, action, self.goal)
        self.age += 1
        truncated = self.age >= self.max_steps
        terminated = self.terminate & (np.abs(self.position).max(1) >= 1.0)
        self.over |= truncated | terminated
        return Step(self.position.astype(np.float32), reward.astype(np.float32),
                    terminated, truncated, {})  # fmt: skip

    def close(self):
        pass


class StrictPointMass(PointMass):
    """Refuses steps in episodes that are over, as no evaluation may be strict but training is."""

    def step(self, action):
        assert not self.over.any(), "a row whose episode ended was stepped without a reset"
        return super().step(action)


def point_mass(position, action, goal):
    """Return next position [..., 3] and reward [...]; works on arrays and tensors alike."""
    following = (position + SPEED * action).clip(-1.0, 1.0)
    distance = ((following - goal) ** 2).sum(-1) ** 0.5
    return following, (1.0 - distance / 1.5).clip(0.0)


def tiny(out, **changes) -> TrainConfig:
    """Return a configuration that trains on the point mass in a second."""
    debug = PRESETS["debug"]
    config = dataclasses.replace(
        debug,
        tasks=tuple(GOALS),
        out=str(out),
        updates=12,
        update_ratio=0.15,
        segment=4,
        evaluate_every=12,
        evaluate_episodes=2,
        log_every=4,
        search=SearchConfig(simulations=8),
        proposals=ProposalConfig(mean=1, narrow=2, wide=2, gradient=1),
        optim=dataclasses.replace(debug.optim, batch=12),
        collect=dataclasses.replace(
            debug.collect,
            envs_per_task=2,
            episode_steps=9,
            random_steps=12,
            terminate=True,
            fall_height=0.0,
            noise_spread=1.0,
        ),
    )
    return dataclasses.replace(config, **changes)


def published(out, **changes) -> TrainConfig:
    """Return EZ-M's own algorithm on the point mass: only the sizes are small."""
    source, small = TrainConfig(), tiny(out)
    return tiny(
        out,
        model=dataclasses.replace(
            source.model,
            latent=16,
            width=16,
            blocks=1,
            reward_blocks=1,
            task_embedding=8,
            head_hidden=(16, 16),
            policy_hidden=(16, 16),
            projector=16,
        ),
        search=source.search,
        proposals=source.proposals,
        targets=dataclasses.replace(source.targets, search_value_after=6, search_value_newest=20),
        loss=source.loss,
        optim=dataclasses.replace(source.optim, batch=12, ema_every=2),
        replay=dataclasses.replace(source.replay, capacity=4000),
        collect=dataclasses.replace(small.collect, noise=0.0, noise_end=0.0, random_scale=1.0),
        **changes,
    )


@dataclasses.dataclass(frozen=True)
class Toy:
    """What the tests get from here."""

    Env: type = PointMass
    StrictEnv: type = StrictPointMass
    sizes: tuple = SIZES
    goals: dict = dataclasses.field(default_factory=lambda: GOALS)
    dynamics: object = staticmethod(point_mass)
    tiny: object = staticmethod(tiny)
    published: object = staticmethod(published)


@pytest.fixture(scope="session")
def toy() -> Toy:
    return Toy()


OBSERVED, ACTIONS, UNROLL = 5, 3, 3
SMALL = ModelConfig(latent=8, width=8, blocks=1, task_embedding=4, head_hidden=(8,), projector=8,
                    policy_hidden=(8,), value_heads=2, head_norm="layer", bins=21)  # fmt: skip


def small_model(norm="layer", **changes):
    """Return a model whose heads answer something; its second task has only two actuators."""
    torch.manual_seed(0)
    model = WorldModel(
        dataclasses.replace(SMALL, head_norm=norm, **changes), OBSERVED, [ACTIONS, 2]
    )
    for head in (model.reward_head, model.policy_head):  # zero heads would hide mistakes
        torch.nn.init.normal_(head.last.weight, std=0.2)
    return model


def small_batch(rows=6, seed=0):
    """Return a batch of both tasks with dead steps and stale policies among its positions."""
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return 2.0 * torch.rand(shape, generator=generator) - 1.0

    step_mask = torch.ones(rows, UNROLL + 1, dtype=torch.bool)
    step_mask[1, 2:] = False
    step_mask[2, 3:] = False
    policy_mask = step_mask.clone()
    policy_mask[1, 1] = policy_mask[2, 2] = policy_mask[3, 1] = False
    return TrainingBatch(
        task=torch.arange(rows) % 2,
        observation=rand(rows, UNROLL + 1, OBSERVED),
        action=rand(rows, UNROLL, ACTIONS),
        reward=rand(rows, UNROLL),
        value=10.0 * rand(rows, UNROLL + 1),
        policy=0.9 * rand(rows, UNROLL + 1, ACTIONS),
        weight=torch.rand(rows, generator=generator) + 0.1,
        step_mask=step_mask,
        policy_mask=policy_mask,
    )


@dataclasses.dataclass(frozen=True)
class Small:
    """A model and batches small enough to be gone through by a loop."""

    actions: int = ACTIONS
    unroll: int = UNROLL
    model: object = staticmethod(small_model)
    batch: object = staticmethod(small_batch)


@pytest.fixture(scope="session")
def small() -> Small:
    return Small()


@pytest.fixture
def pull_the_plug(monkeypatch):
    """Return `pull(run, updates)`: that training is interrupted before its next update."""

    def pull(run, updates):
        learn = run._learn

        def until_then():
            if run.learner.updates == updates:
                raise KeyboardInterrupt
            learn()

        monkeypatch.setattr(run, "_learn", until_then)

    return pull


@pytest.fixture
def call_door(monkeypatch, capsys):
    """Return `call(main, *words)`: exit status, standard output, standard error of a door."""

    def call(main, *words):
        monkeypatch.setattr("sys.argv", ["door.py", *words])
        status = main()
        return status, *capsys.readouterr()

    return call
