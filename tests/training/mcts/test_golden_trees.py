"""The search against trees grown by mctx (tools/mctx_golden.py) under the same noise."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from training.mcts import Root, SearchConfig, search

GOLDEN = np.load(Path(__file__).parents[2] / "golden" / "mctx_trees.npz")
CASES = sorted({name.rpartition("/")[0] for name in GOLDEN.files if "/" in name})


class World:
    """The made-up model of tools/mctx_golden.py."""

    def __init__(self, leaves):
        self.leaves = leaves
        self.w = {k: torch.from_numpy(GOLDEN[k]) for k in GOLDEN.files if "/" not in k}

    def value(self, state):
        return 2.0 + torch.tanh(state @ self.w["value"])

    def step(self, state, action, row):
        following = torch.tanh(state @ self.w["transition"] + action @ self.w["push"])
        along = state @ self.w["reward_state"] + 2.0 * action @ self.w["reward_action"]
        return following, 1.0 + torch.sin(along), self.value(following), following

    def propose(self, features, row):
        mean = (features @ self.w["proposal"]).unsqueeze(1)
        return torch.tanh(mean + 0.5 * self.w["noise"][row, : self.leaves])


def grown(case, parallel, monkeypatch):
    """Return the search's result and its tree for a golden case."""
    kind, *numbers = case.split("/")
    simulations, candidates, leaves = map(int, numbers)
    world, trees = World(leaves), []
    module = sys.modules["training.mcts.search"]

    class Kept(module._Tree):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            trees.append(self)

    monkeypatch.setattr(module, "_Tree", Kept)
    rules = {"counts": "gumbel", "rescale": "node", "min_max_delta": 1e-8}
    config = SearchConfig(
        simulations, leaves, discount=0.9, parallel=parallel, **(rules if kind == "stock" else {})
    )
    state = world.w["state"]
    root = Root(state, world.value(state), world.w["candidates"][:, :candidates])
    return search(root, world, config), trees[0]


def same_results(case, result):
    visits, q = GOLDEN[f"{case}/visits"], GOLDEN[f"{case}/q"]
    np.testing.assert_array_equal(result.visits.numpy(), visits)
    np.testing.assert_array_equal(result.best.numpy(), GOLDEN[f"{case}/best"])
    np.testing.assert_allclose(result.q.numpy()[visits > 0], q[visits > 0], rtol=1e-4)
    np.testing.assert_allclose(result.value.numpy(), GOLDEN[f"{case}/value"], rtol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_one_by_one_the_search_grows_mctx_s_tree_node_by_node(case, monkeypatch):
    result, tree = grown(case, False, monkeypatch)
    same_results(case, result)
    if case.startswith("released"):  # mctx visits the survivors of a later round in another order
        parents = GOLDEN[f"{case}/parents"][:, 1:]
        np.testing.assert_array_equal(tree.parent[:, 1:].numpy(), parents)
        np.testing.assert_array_equal(tree.visits.numpy(), GOLDEN[f"{case}/node_visits"])
        means = (tree.value_sum / tree.visits).numpy()
        np.testing.assert_allclose(means, GOLDEN[f"{case}/node_values"], rtol=1e-4)


@pytest.mark.parametrize("case", [name for name in CASES if name.startswith("stock")])
def test_with_mctx_s_own_rules_parallel_rounds_give_mctx_s_answers_too(case, monkeypatch):
    # there a subtree knows nothing of its neighbours, so their order cannot matter
    same_results(case, grown(case, True, monkeypatch)[0])


def test_parallel_rounds_with_the_released_min_max_agree_with_mctx_on_nearly_every_root(
    monkeypatch,
):
    case = "released/32/16/2"
    result, _ = grown(case, True, monkeypatch)
    best = GOLDEN[f"{case}/best"]
    assert float((result.best.numpy() == best).mean()) >= 0.95
    np.testing.assert_allclose(result.value.numpy(), GOLDEN[f"{case}/value"], atol=0.05)
