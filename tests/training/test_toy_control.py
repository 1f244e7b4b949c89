"""A point mass with three goals as tasks: the whole agent learns, and search improves a prior."""

import dataclasses

import numpy as np
import pytest
import torch

from training.agent import Agent
from training.config import ModelConfig, ProposalConfig, TargetConfig
from training.evaluation import evaluate
from training.mcts import Root, SearchConfig, search
from training.policy_head import Gaussian, sample
from training.presets import PRESETS
from training.trainer import Trainer

STEPS = 30  # of an episode


def learner_config(toy, out):
    """Return a small agent: one-step search, three tasks told apart by their embedding alone."""
    small = PRESETS["h1_small"]
    return dataclasses.replace(
        small,
        tasks=tuple(toy.goals),
        out=str(out),
        updates=500,
        update_ratio=0.3,
        segment=500,
        evaluate_every=500,
        log_every=100,
        model=ModelConfig(
            latent=32,
            width=64,
            blocks=1,
            reward_blocks=0,
            task_embedding=8,
            action_embedding=16,
            head_hidden=(64,),
            policy_hidden=(64,),
            value_heads=2,
            head_norm="layer",
            projector=32,
            bins=31,
            support="linear",
            reward_range=(0.0, 1.0),
            value_range=(0.0, 20.0),
            log_std_range=(-1.2, -1.2),
        ),
        search=SearchConfig(simulations=8, discount=0.95),
        proposals=ProposalConfig(mean=1, narrow=4, wide=3),
        targets=TargetConfig(
            unroll=3,
            td_steps=3,
            reanalyse_positions=1,
            policy_staleness=200,
            value_reduce="mean",
        ),
        loss=dataclasses.replace(
            small.loss, reward=2.0, value=4.0, policy=0.05, consistency=1.0, path_consistency=1.0
        ),
        optim=dataclasses.replace(small.optim, batch=96, lr=2e-3, ema=0.02, clip=5.0),
        collect=dataclasses.replace(
            small.collect,
            envs_per_task=8,
            terminate=False,
            episode_steps=STEPS,
            long_episodes_after=2.0,
            random_steps=400,
            random_scale=1.0,
            fall_height=0.0,
            noise=0.1,
            noise_end=0.1,
            noise_spread=1.0,
        ),
    )


def returns(toy, act, tasks):
    scores = evaluate(
        act, tasks, episodes=16, seed=5, action_map="home", terminate=False, steps=STEPS,
        make_env=toy.Env,
    )  # fmt: skip
    return np.array([scores[name].mean for name in tasks])


def straight(toy, observation, task):
    """Return the actions [E, 3] that lead straight to the goals of `task` [E]."""
    goals = np.stack(list(toy.goals.values()))
    return np.clip((goals[task] - observation) / 0.15, -1.0, 1.0)


def test_the_agent_learns_to_reach_every_goal_from_1700_steps_of_each_task(
    toy, tmp_path, monkeypatch
):
    config = learner_config(toy, tmp_path)
    monkeypatch.setattr(Trainer, "_evaluate", lambda self: None)
    run = Trainer(config, make_env=toy.Env, sizes=toy.sizes)
    run.run()
    assert run.steps < 1700
    agent = Agent(run.learner.average, config, {})
    rng = np.random.default_rng(0)
    best = returns(toy, lambda o, t: straight(toy, o, t), config.tasks)
    chance = returns(toy, lambda o, t: rng.uniform(-1, 1, o.shape), config.tasks)
    planner = returns(toy, lambda o, t: agent.plan(o, t).action, config.tasks)
    policy = returns(toy, agent.policy_mean, config.tasks)
    assert np.all((planner - chance) / (best - chance) > 0.75), (planner, chance, best)
    assert np.all((policy - chance) / (best - chance) > 0.75), (policy, chance, best)


def published_config(toy, out):
    """Return EZ-M's formulation with sizes, rates and horizon cut to what a minute can hold."""
    width = 32
    config = toy.published(
        out, updates=600, update_ratio=0.5, segment=600, evaluate_every=600, log_every=100
    )
    return dataclasses.replace(
        config,
        model=dataclasses.replace(
            config.model, latent=width, width=width, head_hidden=(width, width),
            policy_hidden=(width, width), projector=width,
        ),
        search=dataclasses.replace(config.search, discount=0.95),
        targets=dataclasses.replace(
            config.targets, search_value_after=300, search_value_newest=400
        ),
        optim=dataclasses.replace(config.optim, batch=24, lr=2e-3, ema=0.02, ema_every=1),
        collect=dataclasses.replace(
            config.collect, envs_per_task=8, terminate=False, episode_steps=STEPS,
            long_episodes_after=2.0, random_steps=400,
        ),
    )  # fmt: skip


@pytest.mark.slow
def test_the_published_formulation_learns_to_reach_every_goal(toy, tmp_path, monkeypatch):
    """Batch norm, learnt sigma, as-released entropy, all positions searched, mixed values."""
    config = published_config(toy, tmp_path)
    monkeypatch.setattr(Trainer, "_evaluate", lambda self: None)
    run = Trainer(config, make_env=toy.Env, sizes=toy.sizes)
    rng = np.random.default_rng(0)
    chance = returns(toy, lambda o, t: rng.uniform(-1, 1, o.shape), config.tasks)
    best = returns(toy, lambda o, t: straight(toy, o, t), config.tasks)

    def score():
        agent = Agent(run.learner.average, config, {})
        found = returns(toy, lambda o, t: agent.plan(o, t).action, config.tasks)
        return (found - chance) / (best - chance)

    untrained = score()
    run.run()
    trained = score()
    assert np.all(untrained < 0.2), untrained
    assert np.all(trained > 0.5), trained


class TrueModel:
    """The point mass itself; the prior stays where it is and knows what that is worth."""

    discount = 0.9

    def __init__(self, toy, goal, sigma, generator):
        self.toy, self.goal, self.sigma, self.generator = toy, goal, sigma, generator

    def prior(self, state):
        return Gaussian(torch.zeros_like(state), torch.full_like(state, self.sigma).log())

    def value(self, state, row):
        """Return the discounted reward of resting at `state` for ever: the prior's mean."""
        _, reward = self.toy.dynamics(state, torch.zeros_like(state), self.goal[row])
        return reward / (1.0 - self.discount)

    def step(self, state, action, row):
        following, reward = self.toy.dynamics(state, action, self.goal[row])
        return following, reward, self.value(following, row), following

    def propose(self, features, row):
        return sample(self.prior(features), 2, 1.0, self.generator)


def play(toy, candidates, simulations, rows=300):
    """Return the mean return of acting by search on the true model (0 candidates: the prior)."""
    generator = torch.Generator().manual_seed(0)
    goals = torch.tensor(np.stack(list(toy.goals.values())), dtype=torch.float32)
    model = TrueModel(toy, goals[torch.arange(rows) % 3], 0.5, generator)
    state = 2.0 * torch.rand(rows, 3, generator=generator) - 1.0
    config = SearchConfig(simulations=max(simulations, 1), discount=model.discount)
    total = torch.zeros(rows)
    for _ in range(STEPS):
        action = torch.zeros(rows, 3)
        if candidates:
            actions = sample(model.prior(state), candidates, 1.0, generator)
            value = model.value(state, torch.arange(rows))
            action = search(Root(state, value, actions), model, config).action
        state, reward = toy.dynamics(state, action, model.goal)
        total += reward
    return float(total.mean())


@pytest.mark.parametrize("simulations_per_candidate", [1, 2])
def test_search_on_the_true_model_beats_its_prior_and_more_candidates_are_better(
    toy, simulations_per_candidate
):
    scores = [play(toy, k, k * simulations_per_candidate) for k in (0, 2, 4, 8, 16, 32)]
    assert scores == sorted(scores), scores
    assert scores[1] > 1.2 * scores[0]
    assert scores[-1] > 1.8 * scores[0]
