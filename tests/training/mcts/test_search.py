"""The batched search against a slow sequential reference, and against itself."""

import math

import pytest
import torch

from training.mcts import Root, SearchConfig, search

# --- a model the search cannot see through: deterministic functions of state and action ---------


class Toy:
    """A smooth made-up world; `scale` multiplies rewards and values."""

    def __init__(self, scale=1.0, leaf_actions=2, reward=True, value=True):
        self.scale, self.leaf_actions = scale, leaf_actions
        self.has_reward, self.has_value = reward, value
        self.calls = 0

    def step(self, state, action, row):
        self.calls += 1
        push = torch.stack([action.sum(-1), (action**2).sum(-1)], -1)
        following = torch.tanh(state @ torch.tensor([[0.9, -0.4], [0.3, 0.8]]) + 0.7 * push)
        reward = self.scale * (1.0 + torch.sin(3.0 * state[:, 0] + 2.0 * action[:, 0]))
        value = self.scale * (2.0 + following[:, 0] - following[:, 1] ** 2)
        zero = torch.zeros_like(value)
        reward, value = reward if self.has_reward else zero, value if self.has_value else zero
        return following, reward, value, following.flip(-1)  # features are not the state

    def propose(self, features, row):
        state = features.flip(-1)
        angles = torch.arange(1, self.leaf_actions + 1)
        wave = torch.sin(state[:, :1] * 5.0 + angles)  # [M, L]
        return torch.stack([wave, torch.cos(state[:, 1:] * 4.0 + angles)], -1)


def roots(count, candidates, seed=0):
    generator = torch.Generator().manual_seed(seed)
    state = torch.randn(count, 2, generator=generator)
    actions = 2.0 * torch.rand(count, candidates, 2, generator=generator) - 1.0
    return Root(state, 2.0 + state[:, 0], actions)


# --- the reference: one root, one simulation at a time, nodes are objects -----------------------


class Node:
    def __init__(self, state, reward, value, actions):
        self.state, self.reward = state, reward
        self.value_sum, self.visits = value, 1
        self.actions, self.children = actions, [None] * len(actions)


class Reference:
    """The search of the release for one root in plain Python."""

    def __init__(self, root, row, model, config):
        self.model, self.config = model, config
        self.root = Node(root.state[row], 0.0, float(root.value[row]), root.actions[row])
        self.low, self.high = math.inf, -math.inf
        self.returns = []

    def completed(self, node):
        known = [
            None if c is None else c.reward + self.config.discount * c.value_sum / c.visits
            for c in node.children
        ]
        seen = [q for q in known if q is not None]
        mean = node.value_sum / node.visits
        mix = mean
        if seen:
            mix = (mean + node.visits * sum(seen) / len(seen)) / (1 + node.visits)
        return [mix if q is None else q for q in known]

    def scores(self, node):
        visits = [0 if c is None else c.visits for c in node.children]
        scale = (self.config.c_visit + max(visits)) * self.config.c_scale
        spread = self.high - self.low
        scores = []
        for q in self.completed(node):
            if spread > 0:
                q = (q - self.low) / max(spread, self.config.min_max_delta)
            scores.append(scale * min(max(q, 0.0), 1.0))
        return scores

    def choose(self, node):
        scores = self.scores(node)
        top = max(scores)
        total = sum(math.exp(s - top) for s in scores)
        best, index = -math.inf, 0
        for i, s in enumerate(scores):
            child = node.children[i]
            n = 0 if child is None else child.visits
            merit = math.exp(s - top) / total - n / (1 + node.visits)
            if merit > best + 1e-7:
                best, index = merit, i
        return index

    def simulate(self, candidate):
        path, edge = [self.root], candidate
        while path[-1].children[edge] is not None:
            path.append(path[-1].children[edge])
            edge = self.choose(path[-1])
        parent = path[-1]
        one = torch.zeros(1, dtype=torch.long)
        action = parent.actions[edge][None]
        state, reward, value, features = self.model.step(parent.state[None], action, one)
        leaf = Node(state[0], float(reward), 0.0, self.model.propose(features, one)[0])
        leaf.visits = 0
        parent.children[edge] = leaf
        ret = float(value)
        for node in reversed([*path[1:], leaf]):
            node.value_sum += ret
            node.visits += 1
            ret = node.reward + self.config.discount * ret
            self.low, self.high = min(self.low, ret), max(self.high, ret)
        self.root.value_sum += ret
        self.root.visits += 1
        self.returns.append(ret)

    def run(self):
        N, K = self.config.simulations, len(self.root.actions)
        phases = max(1, math.ceil(math.log2(K)))
        survivors, target, phase = list(range(K)), 0, 0
        new_phase = True
        for i in range(N):
            if new_phase:
                M = len(survivors)
                target = min(target + max(1, N // (phases * M)) * M, N)
                if phase == phases - 1:
                    target = N
                new_phase = False
            visits = [
                0 if self.root.children[s] is None else self.root.children[s].visits
                for s in survivors
            ]
            self.simulate(survivors[visits.index(min(visits))])
            if i + 1 >= target and len(survivors) >= 2:
                scores = self.scores(self.root)
                ranked = sorted(survivors, key=lambda s: -scores[s])
                survivors, phase, new_phase = ranked[: len(survivors) // 2], phase + 1, True
        scores = self.scores(self.root)
        self.best = max(survivors, key=lambda s: scores[s])
        return self


def compare(root, model, config):
    """Return the batched result and the reference of every row."""
    result = search(root, model, config)
    rows = [Reference(root, r, model, config).run() for r in range(len(root.state))]
    return result, rows


@pytest.mark.parametrize(
    ("simulations", "candidates", "leaves"),
    [(32, 16, 2), (16, 8, 2), (24, 4, 3), (5, 1, 2), (12, 6, 2), (20, 16, 2), (8, 8, 2)],
)
def test_the_sequential_search_is_the_reference(simulations, candidates, leaves):
    config = SearchConfig(
        simulations=simulations, leaf_actions=leaves, discount=0.9, parallel=False
    )
    result, rows = compare(roots(24, candidates), Toy(leaf_actions=leaves), config)
    for r, reference in enumerate(rows):
        children = reference.root.children
        assert result.visits[r].tolist() == [0 if c is None else c.visits for c in children]
        assert result.q[r].tolist() == pytest.approx(reference.completed(reference.root), abs=1e-4)
        assert result.score[r].tolist() == pytest.approx(reference.scores(reference.root), abs=2e-3)
        mean = reference.root.value_sum / reference.root.visits
        assert float(result.value[r]) == pytest.approx(mean, abs=1e-4)
        assert int(result.best[r]) == reference.best


@pytest.mark.parametrize(("simulations", "candidates"), [(8, 8), (24, 16), (1, 1)])
def test_parallel_rounds_change_nothing_while_every_subtree_has_at_most_two_nodes(
    simulations, candidates
):
    root = roots(32, candidates)
    one, other = (
        search(root, Toy(), SearchConfig(simulations=simulations, discount=0.9, parallel=parallel))
        for parallel in (True, False)
    )
    assert torch.equal(one.visits, other.visits)
    assert torch.equal(one.best, other.best)
    assert torch.allclose(one.q, other.q, atol=1e-6)


def test_parallel_rounds_agree_with_sequential_ones_on_nearly_every_root():
    root = roots(400, 16)
    one, other = (
        search(root, Toy(), SearchConfig(simulations=32, discount=0.9, parallel=parallel))
        for parallel in (True, False)
    )
    assert float((one.best == other.best).float().mean()) >= 0.97
    assert float((one.value - other.value).abs().max()) < 0.05


def test_visits_of_32_simulations_on_16_actions_are_8_once_4_twice_4_four_times():
    result = search(roots(10, 16), Toy(), SearchConfig(simulations=32))
    for row in result.visits.tolist():
        assert sorted(row) == [1.0] * 8 + [2.0] * 4 + [4.0] * 4


def test_a_round_is_one_model_call():
    model = Toy()
    search(roots(3, 16), model, SearchConfig(simulations=32))
    assert model.calls == 4
    model = Toy()
    search(roots(3, 8), model, SearchConfig(simulations=8))
    assert model.calls == 1


def test_rows_do_not_leak_into_each_other():
    many = roots(7, 8)
    config = SearchConfig(simulations=16)
    together = search(many, Toy(), config)
    for r in range(7):
        one = Root(many.state[r : r + 1], many.value[r : r + 1], many.actions[r : r + 1])
        alone = search(one, Toy(), config)
        assert torch.allclose(alone.q[0], together.q[r], atol=1e-5)
        assert torch.equal(alone.action[0], together.action[r])


@pytest.mark.parametrize("factor", [0.5, 3.0, 100.0])
def test_scaling_all_rewards_and_values_leaves_the_answer_unchanged(factor):
    base = roots(64, 16)
    scaled = Root(base.state, factor * base.value, base.actions)
    config = SearchConfig(simulations=32, discount=0.9)
    one, other = search(base, Toy(), config), search(scaled, Toy(scale=factor), config)
    agree = (one.best == other.best).float().mean()
    assert float(agree) >= 0.98  # float rounding may flip a tie
    assert torch.allclose(other.value, factor * one.value, rtol=1e-3, atol=1e-3)


def test_the_recommended_action_is_one_of_the_candidates_at_its_index():
    root = roots(9, 16)
    result = search(root, Toy(), SearchConfig(simulations=32))
    assert torch.equal(result.action, root.actions[torch.arange(9), result.best])


def test_the_recommended_action_is_among_the_most_visited():
    result = search(roots(50, 16), Toy(), SearchConfig(simulations=32))
    most = result.visits.amax(-1)
    assert torch.equal(result.visits.gather(1, result.best[:, None])[:, 0], most)
