"""Joining model and search: candidates, masks, gradient steps."""

import dataclasses
import itertools

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from training.config import ModelConfig, ProposalConfig
from training.mcts import Root, SearchConfig, search
from training.planner import (
    ModelView,
    PlannerConfig,
    climb,
    foresee,
    pick_heads,
    plan,
    root_candidates,
)
from training.policy_head import Gaussian, squash
from training.presets import PRESETS
from training.world_model import WorldModel

MODEL = ModelConfig(
    latent=16,
    width=24,
    blocks=1,
    task_embedding=8,
    head_hidden=(20,),
    policy_hidden=(20,),
    projector=16,
    head_norm="layer",
    value_floor=-1e9,
)
FEATURES = MODEL.latent + MODEL.task_embedding
PUBLISHED = SearchConfig()


def model(**changes):
    torch.manual_seed(1)
    config = dataclasses.replace(MODEL, **changes)
    net = WorldModel(config, 7, [4, 2]).eval().requires_grad_(False)
    for head in (net.policy_head, net.reward_head):
        torch.nn.init.normal_(head.last.weight, std=0.3)
    return net


def settings(search=PUBLISHED, reduce="min2", **counts):
    return PlannerConfig(search, ProposalConfig(**{"narrow": 0, "wide": 0, **counts}), reduce)


def view_of(net, config, rows=5, seed=0):
    task = torch.arange(rows) % 2
    return ModelView(net, task, torch.tensor([0, 1]), config, torch.Generator().manual_seed(seed))


def test_candidates_come_as_mean_narrow_wide_gradient():
    net, config = model(), settings(mean=1, narrow=300, wide=300, gradient=2)
    view = view_of(net, config)
    state = torch.randn(5, 16)
    policy = Gaussian(torch.full((5, 4), 0.2), torch.full((5, 4), -3.0))
    candidates = root_candidates(view, state, policy, config)
    assert candidates.shape == (5, config.proposals.count, 4)
    assert torch.allclose(candidates[0, 0], squash(policy.mean[0]))
    u = torch.atanh(candidates[0, 1:601])
    sigma = 2.718281828**-3
    assert float(u[:300].std()) == pytest.approx(sigma, rel=0.1)
    assert float(u[300:].std()) == pytest.approx(3 * sigma, rel=0.1)


def test_masked_actuators_are_exactly_zero_in_every_candidate_and_every_leaf():
    net, config = model(), settings(mean=1, narrow=3, wide=3, gradient=1)
    view = view_of(net, config)
    policy = Gaussian(torch.full((5, 4), 0.2), torch.zeros(5, 4))
    short = torch.arange(5) % 2 == 1  # two of four actuators
    root = root_candidates(view, torch.randn(5, 16), policy, config)
    leaf = view.propose(torch.randn(5, FEATURES), torch.arange(5))
    for actions in (root, leaf):
        assert torch.all(actions[short][..., 2:] == 0.0)
        assert torch.all(actions[~short] != 0.0)


@pytest.mark.parametrize("leaves", [1, 2, 3, 4])
def test_every_leaf_gets_distinct_children_half_of_them_wide(leaves):
    net = model()
    config = settings(SearchConfig(leaf_actions=leaves), narrow=4)
    children = view_of(net, config).propose(torch.randn(5, FEATURES), torch.arange(5))
    assert children.shape == (5, leaves, 4)
    for i in range(leaves):
        for j in range(i):
            assert not torch.equal(children[:, i], children[:, j])


def q_value(view, state, u, discount):
    _, reward, value, _ = view.step(state, torch.tanh(u), torch.arange(len(u)))
    return reward + discount * value


def test_the_first_gradient_step_goes_up_q_by_finite_differences():
    net = model().double()
    config = settings(gradient=1)
    config = dataclasses.replace(
        config, proposals=dataclasses.replace(config.proposals, gradient_floor=1e-9)
    )
    view = view_of(net, config, rows=3)
    state, mean = torch.randn(3, 16).double(), 0.1 * torch.randn(3, 4).double()
    (action,) = climb(view, state, mean, config)
    step = torch.atanh(action) - mean
    assert torch.allclose(step.pow(2).mean(-1).sqrt(), torch.tensor(0.1).double(), atol=1e-6)
    slope = torch.zeros_like(mean)
    for d in range(4):
        offset = torch.zeros_like(mean)
        offset[:, d] = 1e-3
        up, down = (q_value(view, state, mean + s * offset, 0.99) for s in (1.0, -1.0))
        slope[:, d] = (up - down) / 2e-3
    cosine = torch.nn.functional.cosine_similarity(step, slope, dim=-1)
    assert torch.all(cosine > 0.999)


def test_a_gradient_below_the_floor_makes_a_shorter_step():
    net = model().double()
    config = settings(gradient=1)
    config = dataclasses.replace(
        config, proposals=dataclasses.replace(config.proposals, gradient_floor=1e6)
    )
    (action,) = climb(view_of(net, config), torch.randn(5, 16).double(),
                      torch.zeros(5, 4).double(), config)  # fmt: skip
    assert float(action.abs().max()) < 1e-4


@pytest.mark.parametrize("reduce", ["min2", "mean"])
def test_planning_is_a_function_of_the_generator(reduce):
    net = model()
    config = settings(SearchConfig(simulations=16), reduce, mean=1, narrow=4, wide=2, gradient=1)
    observation, task = torch.randn(6, 7), torch.arange(6) % 2
    results = [
        plan(net, observation, task, config, torch.Generator().manual_seed(seed))
        for seed in (3, 3, 4)
    ]
    assert torch.equal(results[0].action, results[1].action)
    assert not torch.equal(results[0].actions, results[2].actions)
    assert results[0].action.shape == (6, 4)
    assert not results[0].action.requires_grad


def test_the_root_value_is_the_least_of_two_heads():
    net = model()
    config = settings(SearchConfig(simulations=1, discount=0.0), narrow=1)
    observation, task = torch.randn(6, 7), torch.zeros(6, dtype=torch.long)
    generator = torch.Generator().manual_seed(0)
    pick = torch.randperm(5, generator=torch.Generator().manual_seed(0))[:2]
    result = plan(net, observation, task, config, generator)
    e = net.embed(task)
    state = net.encode(observation, e)
    heads = net.value_support.decode(net.value_logits(net.features(state, e)))
    reward = net.reward(state, e, result.action)
    # discount 0: v_search = (v0 + r) / 2
    assert torch.allclose(result.value, (heads[:, pick].amin(-1) + reward) / 2, atol=1e-4)


def test_what_is_foreseen_is_the_discounted_reward_of_the_policys_own_actions_and_then_the_value():
    net = model()
    with torch.no_grad():  # a policy so sure that its samples are its mean
        net.config = dataclasses.replace(MODEL, log_std_range=(-12.0, -12.0))
    config = settings()
    view, state = view_of(net, config), torch.randn(5, 16)
    wanted, now = torch.zeros(5), state
    for number in range(3):
        policy = net.policy(net.features(now, view.e), view.task)
        action = squash(policy.mean) * net.action_mask[view.task]
        now, reward, value, _ = view.step(now, action, torch.arange(5))
        wanted += 0.99**number * reward
    wanted += 0.99**3 * value
    torch.testing.assert_close(foresee(view, state, 3), wanted, rtol=1e-4, atol=1e-4)


def leaf_values(net, reduce, pick, calls=60):
    """Return the values [calls] that one leaf gets in a search, and those of its heads [H]."""
    view = ModelView(net, torch.zeros(1, dtype=torch.long), pick, settings(reduce=reduce),
                     torch.Generator().manual_seed(0))  # fmt: skip
    torch.manual_seed(3)
    state, action, row = torch.randn(1, 16), torch.zeros(1, 4), torch.tensor([0])
    values = torch.cat([view.step(state, action, row)[2] for _ in range(calls)])
    following = net.features(net.next(state, view.e, action), view.e)
    return values, net.value_support.decode(net.value_logits(following))[0]


def test_the_pair_of_heads_is_drawn_per_search_or_with_min2_each_anew_for_every_call():
    net = model()
    values, heads = leaf_values(net, "min2", torch.tensor([1, 3]))
    torch.testing.assert_close(values, heads[[1, 3]].amin().expand(60), atol=1e-4, rtol=0.0)
    values, heads = leaf_values(net, "min2_each", torch.tensor([1, 3]))
    pairs = torch.stack([heads[list(p)].amin() for p in itertools.combinations(range(5), 2)])
    torch.testing.assert_close(values.unique(), pairs.unique(), atol=1e-4, rtol=0.0)
    assert len(pairs.unique()) == 4  # the greatest head is the least of no pair


@pytest.mark.parametrize("reduce", ["min", "mean"])
def test_without_a_pair_all_heads_count(reduce):
    values, heads = leaf_values(model(), reduce, None, calls=1)
    wanted = heads.amin() if reduce == "min" else heads.mean()
    assert values.item() == pytest.approx(wanted.item(), abs=1e-4)
    assert pick_heads(model(), reduce, None) is None


class LongWay(ModelView):
    """The same answers the long way: every head's value, and the trunk once more to propose."""

    def step(self, state, action, row):
        following, reward, _, _ = super().step(state, action, row)
        features = self.model.features(following, self.e[row])
        heads = self.model.value_support.decode(self.model.value_logits(features))
        return following, reward, heads[..., self.pick].amin(-1), following

    def propose(self, features, row):
        return super().propose(self.model.features(features, self.e[row]), row)


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_on_3000_roots_the_search_answers_as_one_that_computes_every_head_and_all_features_anew(
    norm,
):
    net, config = model(head_norm=norm), settings(narrow=16)
    for name, buffer in net.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_()
        if name.endswith("running_var"):
            buffer.uniform_(0.3, 2.0)
    task, pick = torch.arange(3000) % 2, torch.tensor([3, 1])
    root = Root(torch.randn(3000, 16), torch.randn(3000), torch.rand(3000, 16, 4) * 2.0 - 1.0)
    ours, plain = (
        search(root, kind(net, task, pick, config, torch.Generator().manual_seed(0)), config.search)
        for kind in (ModelView, LongWay)
    )
    assert torch.equal(ours.best, plain.best)
    assert torch.equal(ours.action, plain.action)
    torch.testing.assert_close(ours.q, plain.q, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.value, plain.value, rtol=1e-5, atol=1e-5)


def test_a_simulation_of_hb_medium_costs_less_than_20_mflop():
    preset, rows = PRESETS["hb_medium"], 2
    net = WorldModel(preset.model, 51, [19] * 9).to("meta").eval().requires_grad_(False)
    config = PlannerConfig.of(preset.search, preset.proposals, preset.targets)
    pick = torch.zeros(2, dtype=torch.long, device="meta")
    view = ModelView(net, torch.zeros(rows, dtype=torch.long, device="meta"), pick, config, None)
    state, actions = torch.zeros(rows, 512), torch.zeros(rows, config.proposals.count, 19)
    root = Root(state.to("meta"), state[:, 0].to("meta"), actions.to("meta"))
    with FlopCounterMode(display=False) as counter:
        search(root, view, config.search)
    # dynamics 4.34, reward 5.50, trunk 4.92, two value heads 2.47, policy head 1.22 on 28 of 32
    cost = counter.get_total_flops() / rows / config.search.simulations / 1e6
    assert cost < 20.0
    assert cost == pytest.approx(4.34 + 5.50 + 4.92 + 2.47 + 1.22 * 28 / 32, abs=0.05)


def test_the_search_takes_rewards_as_decoded_below_the_floor_of_values_too():
    net = model(value_floor=0.0, value_slope=5.0)
    net.reward_head.last.bias -= 0.2 * torch.arange(MODEL.bins)
    config = settings(SearchConfig(simulations=4, discount=0.5), narrow=4)
    observation, task = torch.randn(6, 7), torch.arange(6) % 2
    result = plan(net, observation, task, config, torch.Generator().manual_seed(0))
    e = net.embed(task).unsqueeze(1).expand(-1, 4, -1)
    state = net.encode(observation, net.embed(task)).unsqueeze(1).expand(-1, 4, -1)
    reward = net.reward(state, e, result.actions)
    assert float(reward.max()) < -1.0
    # values are floored at 0, so that Q = r + discount V = r
    torch.testing.assert_close(result.q, reward, rtol=1e-4, atol=1e-4)
