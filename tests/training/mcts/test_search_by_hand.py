"""The batched search on trees small enough to work out by hand."""

import pytest
import torch

from training.mcts import Root, SearchConfig, search
from training.mcts.search import _Tree


class Bandit:
    """Rewards by action value; every value and every proposal is zero."""

    def step(self, state, action, row):
        return state, action[:, 0], torch.zeros(len(action)), state

    def propose(self, features, row):
        return torch.zeros(len(features), 2, 1)


@pytest.mark.parametrize(("simulations", "candidates"), [(8, 8), (32, 16), (16, 8)])
def test_with_discount_0_the_answer_is_the_best_one_step_reward(simulations, candidates):
    generator = torch.Generator().manual_seed(3)
    actions = torch.rand(50, candidates, 1, generator=generator)
    root = Root(torch.zeros(50, 1), torch.zeros(50), actions)
    result = search(root, Bandit(), SearchConfig(simulations=simulations, discount=0.0))
    assert torch.equal(result.best, actions[..., 0].argmax(-1))
    assert torch.allclose(result.q, actions[..., 0])
    # v = (v0 + sum of the returns) / (N + 1); every return is the first reward of its simulation
    expected = (result.visits * actions[..., 0]).sum(-1) / (simulations + 1)
    assert torch.allclose(result.value, expected, atol=1e-5)


class Chain:
    """Rewards 1 then 10; values from a table by depth; the state counts the depth."""

    def step(self, state, action, row):
        depth, following = state[:, 0], state + 1.0
        reward, value = torch.where(depth == 0, 1.0, 10.0), torch.where(depth == 0, 4.0, 6.0)
        return following, reward, value, following

    def propose(self, features, row):
        return torch.zeros(len(features), 2, 1)


def test_search_value_on_a_hand_made_tree_is_v0_and_all_returns_averaged():
    # discount 1/2, one root action, three simulations, v0 = 3:
    #   sim 1: root -a-> A, r = 1, v = 4:         G = 1 + 4/2             = 3
    #   sim 2: A's first child B, r = 10, v = 6:  G = 1 + (10 + 6/2)/2    = 7.5
    #   sim 3: Q(A, B) = 10 + 6/2 = 13. V(A) = (4 + 13)/2 = 8.5, n = 2.
    #          v_mix = (8.5 + 2 * 13) / 3 = 11.5 for the unvisited second child.
    #          min-max: 3, 13, 7.5 -> [3, 13]: q-hat 1 and 0.85; sigma = 51 * 0.1 = 5.1
    #          pi' = softmax(5.1, 4.335) = 0.682, 0.318; minus 1/3 and 0: 0.349 > 0.318
    #          -> B again, and below it B's first child C, r = 10, v = 6:
    #          return at B: 13, at A: 10 + 13/2 = 16.5, at the root: 1 + 16.5/2 = 9.25
    #   v = (3 + 3 + 7.5 + 9.25) / 4 = 5.6875;  Q(a) = 1 + mean(4, 13, 16.5)/2 = 6.58333
    root = Root(torch.zeros(1, 1), torch.tensor([3.0]), torch.zeros(1, 1, 1))
    result = search(root, Chain(), SearchConfig(simulations=3, discount=0.5))
    assert float(result.value) == pytest.approx(5.6875)
    assert float(result.q) == pytest.approx(1 + 33.5 / 3 / 2)
    assert result.visits.tolist() == [[3.0]]


def test_an_unvisited_action_gets_the_mixed_value():
    # root: v0 = 2, one of two actions seen with r = 1, v = 8, discount 1/2: Q = 5, G = 5
    # mean V = (2 + 5) / 2 = 3.5, n = 2: v_mix = (3.5 + 2 * 5) / 3 = 4.5
    root = Root(torch.zeros(1, 1), torch.tensor([2.0]), torch.zeros(1, 2, 1))
    tree = _Tree(root, SearchConfig(simulations=2, discount=0.5))
    slot = torch.zeros(1, 1, dtype=torch.long)
    node = tree.add(slot, slot, torch.zeros(1, 1, 1), torch.tensor([[1.0]]))
    tree.backup(node, torch.tensor([[8.0]]), depth=1)
    q, _, visits = tree.root_scores()
    assert q.tolist() == [[5.0, 4.5]]
    assert visits.tolist() == [[1.0, 0.0]]


def test_an_unexpanded_node_completes_every_action_with_its_own_value():
    root = Root(torch.zeros(1, 1), torch.tensor([2.0]), torch.zeros(1, 3, 1))
    q, _, _ = _Tree(root, SearchConfig(simulations=3)).root_scores()
    assert q.tolist() == [[2.0, 2.0, 2.0]]


def test_scores_are_51_tenths_of_the_min_max_scaled_values_after_one_visit_each():
    root = Root(torch.zeros(1, 1), torch.zeros(1), torch.tensor([[[0.2], [0.6], [1.0]]]))
    result = search(root, Bandit(), SearchConfig(simulations=3, discount=0.0))
    # scores of all three: (50 + 1) * 0.1 * (0, 1/2, 1)
    assert result.score[0].tolist() == pytest.approx([0.0, 2.55, 5.1], abs=1e-5)
    assert torch.allclose(result.weights(), torch.softmax(result.score, -1))


def test_differences_below_the_floor_are_not_stretched():
    # spread 0.001 is divided by 0.01: scores 0 and 5.1 * 0.1
    root = Root(torch.zeros(1, 1), torch.zeros(1), torch.tensor([[[0.5], [0.501]]]))
    result = search(root, Bandit(), SearchConfig(simulations=2, discount=0.0))
    assert result.score[0].tolist() == pytest.approx([0.0, 0.51], abs=1e-3)


def test_equal_values_give_finite_scores_and_the_first_action():
    root = Root(torch.zeros(2, 1), torch.zeros(2), torch.full((2, 4, 1), 0.5))
    result = search(root, Bandit(), SearchConfig(simulations=8, discount=0.0))
    assert torch.isfinite(result.score).all()
    assert result.best.tolist() == [0, 0]
