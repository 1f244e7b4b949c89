"""Sampled Gumbel-style search (EfficientZero-V2 / EZ-M, continuous branch) in batched tensors.

Priors are uniform and Gumbel noise is zero, as in the release: the prior acts only through which
actions are sampled. The caller samples the root candidates; this module knows no network.
One deviation, on purpose: the simulations of a halving round run in parallel. They visit different
root children, so they touch disjoint subtrees; only the running min-max is one round old.
`SearchConfig.parallel=False` runs them one by one, as the release does.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from training.mcts.seq_halving import halving_rounds


@dataclass(frozen=True)
class SearchConfig:
    """Constants of one search (published values)."""

    simulations: int = 32  # model steps per search (N)
    leaf_actions: int = 2  # policy samples expanded at a leaf
    discount: float = 0.99  # per control step
    c_visit: float = 50.0  # c_visit of Gumbel MuZero's sigma(q)
    c_scale: float = 0.1  # c_scale of the same
    min_max_delta: float = 0.01  # smallest spread that Q values are normalised by
    counts: str = "as-released"  # a node's visits include its own; "gumbel": its children's only
    rescale: str = "tree"  # Q by the whole tree's min-max; "node": by that of the node (mctx)
    parallel: bool = True  # a halving round as one network call; false: one by one


@dataclass(frozen=True)
class Root:
    """What the search starts from, for R independent roots."""

    state: Tensor  # [R, S]
    value: Tensor  # [R]
    actions: Tensor  # [R, K, A] candidates, in the order in which ties are broken


class Model(Protocol):
    """The learned model as the search sees it; M rows, `row` says which root a row belongs to."""

    def step(
        self, state: Tensor, action: Tensor, row: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Map state [M, S], action [M, A] to next state [M, S], reward [M], value [M], features.

        The features [M, F] are what the value was read from; the search hands them to `propose`.
        """
        ...

    def propose(self, features: Tensor, row: Tensor) -> Tensor:
        """Sample the children of a node that `step` gave [M, F]: actions [M, L, A]."""
        ...


@dataclass(frozen=True)
class SearchResult:
    """What a search knows at the root."""

    action: Tensor  # [R, A] recommended action: best score among the survivors
    value: Tensor  # [R] mean over all simulations and the root's own value (SVE)
    actions: Tensor  # [R, K, A] the candidates
    q: Tensor  # [R, K] completed Q
    score: Tensor  # [R, K] transformed completed Q; softmax of it is the improved policy
    visits: Tensor  # [R, K]
    best: Tensor  # [R] index of the recommended candidate

    def weights(self) -> Tensor:
        """Return the improved policy over the candidates, [R, K]."""
        return torch.softmax(self.score, dim=-1)


class _Tree:
    """Flat arrays of N+1 nodes per root; node i+1 is the one expanded by simulation i."""

    def __init__(self, root: Root, config: SearchConfig):
        rows, candidates, action_dim = root.actions.shape
        nodes, device = config.simulations + 1, root.state.device
        self.config, self.actions = config, root.actions
        self.row = torch.arange(rows, device=device).unsqueeze(1)  # [R, 1]
        self.value_sum = torch.zeros(rows, nodes, device=device)
        self.visits = torch.zeros(rows, nodes, device=device)
        self.reward = torch.zeros(rows, nodes, device=device)  # on the edge into the node
        self.parent = torch.zeros(rows, nodes, dtype=torch.long, device=device)
        self.state = root.state.new_zeros(rows, nodes, root.state.shape[-1])
        # one column more than candidates: there `add` writes what is not the root's
        self.root_child = torch.full((rows, candidates + 1), -1, device=device)
        self.child = torch.full((rows, nodes, config.leaf_actions), -1, device=device)
        self.child_action = root.actions.new_zeros(rows, nodes, config.leaf_actions, action_dim)
        self.low = torch.full((rows,), float("inf"), device=device)
        self.high = torch.full((rows,), float("-inf"), device=device)
        self.value_sum[:, 0], self.visits[:, 0], self.state[:, 0] = root.value, 1.0, root.state
        self.first_value = self.value_sum.clone()  # a node's own value, nothing backed up
        self.size = 1
        # data-dependent early exits: cheap on a CPU, a stall on a GPU, impossible in one graph
        self.asks = device.type == "cpu" and not torch.compiler.is_compiling()

    def completed_q(self, node: Tensor, child: Tensor) -> tuple[Tensor, Tensor]:
        """Return completed Q and visits [R, M, C] of `child` [R, M, C] (-1: none) of `node` [R, M].

        An unvisited action gets v_mix: the node's running mean mixed with its children's mean Q.
        """
        seen = child >= 0
        index = child.clamp_min(0).flatten(1)
        shape = child.shape
        n = torch.where(seen, self.visits.gather(1, index).view(shape), 0.0)
        total = self.value_sum.gather(1, index).view(shape)
        edge = self.reward.gather(1, index).view(shape)
        q = edge + self.config.discount * total / n.clamp_min(1.0)
        own_n = self.visits.gather(1, node)
        own = self.value_sum.gather(1, node) / own_n.clamp_min(1.0)
        if self.config.counts == "gumbel":
            own_n, own = n.sum(-1), self.first_value.gather(1, node)
        count = seen.sum(-1)
        mean_q = torch.where(seen, q, 0.0).sum(-1) / count.clamp_min(1)
        mixed = torch.where(count > 0, (own + own_n * mean_q) / (1.0 + own_n), own)
        return torch.where(seen, q, mixed.unsqueeze(-1)), n

    def score(self, q: Tensor, n: Tensor) -> Tensor:
        """Return sigma(q-hat) = (c_visit + max_b n_b) c_scale q-hat, [R, M, C]."""
        low, high = self.low.view(-1, 1, 1), self.high.view(-1, 1, 1)
        if self.config.rescale == "node":
            low, high = q.amin(-1, keepdim=True), q.amax(-1, keepdim=True)
        spread = high - low
        scaled = (q - low) / spread.clamp_min(self.config.min_max_delta)
        scaled = torch.where(spread > 0, scaled, q).clamp(0.0, 1.0)
        return (self.config.c_visit + n.amax(-1, keepdim=True)) * self.config.c_scale * scaled

    def root_scores(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return completed Q, score and visits of the root's candidates, each [R, K]."""
        root = torch.zeros_like(self.row)
        q, n = self.completed_q(root, self.root_child[:, :-1].unsqueeze(1))
        return q[:, 0], self.score(q, n)[:, 0], n[:, 0]

    def descend(self, slot: Tensor, depth: int) -> tuple[Tensor, Tensor, Tensor]:
        """Walk from root candidate `slot` [R, M] to an edge without a node.

        No subtree of the root is deeper than `depth` nodes: that many steps are enough. Off the
        CPU all of them are taken, since to ask whether more are needed would wait for the device.

        Returns:
            parent [R, M], slot at the parent [R, M], action [R, M, A].
        """
        node = self.root_child.gather(1, slot)
        parent = torch.zeros_like(slot)
        action = self.actions.gather(1, slot.unsqueeze(-1).expand(-1, -1, self.actions.shape[-1]))
        for _ in range(depth):
            inside = node >= 0
            if self.asks and not bool(inside.any()):
                break
            here = node.clamp_min(0)
            child = self.child[self.row, here]  # [R, M, L]
            q, n = self.completed_q(here, child)
            policy = torch.softmax(self.score(q, n), dim=-1)
            own_n = self.visits.gather(1, here).unsqueeze(-1)
            own_n = n.sum(-1, keepdim=True) if self.config.counts == "gumbel" else own_n
            choice = (policy - n / (1.0 + own_n)).argmax(-1)
            parent = torch.where(inside, here, parent)
            slot = torch.where(inside, choice, slot)
            action = torch.where(
                inside.unsqueeze(-1), self.child_action[self.row, here, choice], action
            )
            node = torch.where(inside, child.gather(-1, choice.unsqueeze(-1)).squeeze(-1), node)
        return parent, slot, action

    def add(self, parent: Tensor, slot: Tensor, state: Tensor, reward: Tensor) -> Tensor:
        """Append one node per [R, M] entry and return their indices [R, M]."""
        width = parent.shape[1]
        node = torch.arange(self.size, self.size + width, device=parent.device)
        node = node.expand_as(parent)
        span = slice(self.size, self.size + width)
        self.parent[:, span], self.state[:, span], self.reward[:, span] = parent, state, reward
        at_root = parent == 0
        none = self.root_child.shape[1] - 1
        self.root_child.scatter_(1, torch.where(at_root, slot, none), node)
        # a row's root entries all write to child [0, 0], which nothing reads: the root has its own
        self.child[self.row, parent, torch.where(at_root, 0, slot)] = node
        self.size += width
        return node

    def backup(self, node: Tensor, value: Tensor, depth: int) -> None:
        """Add the discounted return of each new leaf [R, M] to every node on its path.

        No path has more than `depth` nodes below the root.
        """
        ret, inf = value, float("inf")
        self.first_value.scatter_(1, node, value)
        for _ in range(depth):
            below_root = node > 0
            if self.asks and not bool(below_root.any()):
                break
            self.value_sum.scatter_add_(1, node, torch.where(below_root, ret, 0.0))
            self.visits.scatter_add_(1, node, below_root.to(ret.dtype))
            q = self.reward.gather(1, node) + self.config.discount * ret
            self.low = torch.minimum(self.low, torch.where(below_root, q, inf).amin(-1))
            self.high = torch.maximum(self.high, torch.where(below_root, q, -inf).amax(-1))
            ret = torch.where(below_root, q, ret)
            node = torch.where(below_root, self.parent.gather(1, node), node)
        self.value_sum[:, 0] += ret.sum(-1)
        self.visits[:, 0] += ret.shape[-1]


def search(root: Root, model: Model, config: SearchConfig) -> SearchResult:
    """Search from every root and return the recommended actions.

    Cost: one `model.step` call of R x width rows per round of the halving schedule
    (N=32, K=16: 4 calls; N=K: 1 call).
    """
    tree = _Tree(root, config)
    rows, candidates, _ = root.actions.shape
    survivors = torch.arange(candidates, device=root.state.device).expand(rows, candidates)
    rounds = halving_rounds(config.simulations, candidates)
    for number, spec in enumerate(rounds):
        visit = survivors[:, : spec.width]
        groups = [visit] if config.parallel else visit.split(1, dim=1)
        for slot in groups:
            parent, place, action = tree.descend(slot, number)
            row = tree.row.expand_as(parent).reshape(-1)
            origin = tree.state[tree.row, parent].flatten(0, 1)
            state, reward, value, features = model.step(origin, action.flatten(0, 1), row)
            shape = parent.shape
            node = tree.add(parent, place, state.unflatten(0, shape), reward.view(shape))
            if number + 1 < len(rounds):  # children are looked at only by a later visit
                proposals = model.propose(features, row)
                tree.child_action[tree.row, node] = proposals.unflatten(0, shape)
            tree.backup(node, value.view(shape), number + 1)
        if spec.halve_after:
            _, score, _ = tree.root_scores()
            order = score.gather(1, survivors).argsort(dim=1, descending=True, stable=True)
            survivors = survivors.gather(1, order[:, : spec.survivors // 2])
    q, score, visits = tree.root_scores()
    best = survivors.gather(1, score.gather(1, survivors).argmax(1, keepdim=True)).squeeze(1)
    return SearchResult(
        action=root.actions[torch.arange(rows, device=best.device), best],
        value=tree.value_sum[:, 0] / tree.visits[:, 0],
        actions=root.actions,
        q=q,
        score=score,
        visits=visits,
        best=best,
    )
