"""Planning with a world model: propose root candidates, search, return the result.

Joins `WorldModel` and `mcts`; used by acting, re-analysis, evaluation and distillation.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from training import mcts
from training.config import ProposalConfig, TargetConfig
from training.networks import autocast
from training.policy_head import Gaussian, sample, squash
from training.world_model import WorldModel


@dataclass(frozen=True)
class PlannerConfig:
    """What a search needs to know beside the model."""

    search: mcts.SearchConfig
    proposals: ProposalConfig
    value_reduce: str  # how the heads become one value: TargetConfig
    precision: str = "float32"  # or "bfloat16": autocast of the networks
    compile: bool = False  # the whole search as one compiled graph (torch.compile)

    @classmethod
    def of(
        cls, search: mcts.SearchConfig, proposals: ProposalConfig, targets: TargetConfig
    ) -> "PlannerConfig":
        return cls(search, proposals, targets.value_reduce)


class ModelView:
    """`WorldModel` as the search sees it: task embedding and head choice filled in."""

    def __init__(
        self,
        model: WorldModel,
        task: Tensor,
        pick: Tensor | None,
        config: PlannerConfig,
        generator: torch.Generator | None,
    ):
        self.model, self.task, self.pick, self.config = model, task, pick, config
        self.generator = generator
        self.e = model.embed(task)  # [R, E]

    def step(
        self, state: Tensor, action: Tensor, row: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        e = self.e[row]
        following = self.model.next(state, e, action)
        features = self.model.features(following, e)
        pick = self.pick
        if self.config.value_reduce == "min2_each":
            pick = pick_heads(self.model, self.config.value_reduce, self.generator)
        value = self.model.value(features, pick, self.config.value_reduce)
        # no floor: the release clips values only, and path consistency teaches V such rewards too
        reward = self.model.reward(state, e, action)
        return following, reward, value, features

    def propose(self, features: Tensor, row: Tensor) -> Tensor:
        policy = self.model.policy(features, self.task[row])
        wide = self.config.search.leaf_actions // 2
        narrow = self.config.search.leaf_actions - wide
        scale = self.config.proposals.wide_scale
        parts = [sample(policy, narrow, 1.0, self.generator)]
        parts += [sample(policy, wide, scale, self.generator)] if wide else []
        return torch.cat(parts, dim=-2) * self.model.action_mask[self.task[row]].unsqueeze(-2)


def climb(view: ModelView, state: Tensor, mean: Tensor, config: PlannerConfig) -> list[Tensor]:
    """Walk up the model's Q(s, a) = r + discount V(s') in u = atanh(a) from `mean` [R, A].

    A gradient of root-mean-square at least `gradient_floor` moves u by `gradient_step` (rms).
    Returns the action after each step, each [R, A]. Ours: K samples in 19 or 61 dimensions say
    little about the direction in which Q grows; the model knows it exactly.
    """
    proposals = config.proposals
    row = torch.arange(state.shape[0], device=state.device)

    def worth(u: Tensor) -> Tensor:
        _, reward, value, _ = view.step(state.detach(), torch.tanh(u), row)
        return (reward + config.search.discount * value).sum()

    u, actions = mean.clamp(-2.5, 2.5), []
    for _ in range(proposals.gradient):
        if torch.compiler.is_compiling():  # which would break the graph at autograd.grad
            slope = torch.func.grad(worth)(u.detach())
        else:
            with torch.enable_grad():
                u = u.detach().requires_grad_(True)
                (slope,) = torch.autograd.grad(worth(u), u)
        size = slope.pow(2).mean(-1, keepdim=True).sqrt().clamp_min(proposals.gradient_floor)
        u = (u.detach() + proposals.gradient_step * slope / size).clamp(-2.5, 2.5)
        actions.append(squash(u))
    return actions


def foresee(view: ModelView, state: Tensor, steps: int) -> Tensor:
    """Return the value [R] of latents [R, D] that the policy's own next `steps` actions promise.

    sum_{i < n} discount^i r_i + discount^n V(s_n) along the model, actions drawn from the policy.
    It judges the policy as it is, where an n-step return judges whoever acted when it was recorded.
    """
    row = torch.arange(state.shape[0], device=state.device)
    total = value = torch.zeros_like(state[:, 0])
    weight, model = 1.0, view.model
    features = model.features(state, view.e)
    for _ in range(steps):
        action = sample(model.policy(features, view.task), 1, 1.0, view.generator).squeeze(-2)
        action = action * model.action_mask[view.task]
        state, reward, value, features = view.step(state, action, row)
        total = total + weight * reward
        weight *= view.config.search.discount
    return total + weight * value


def root_candidates(
    view: ModelView, state: Tensor, policy: Gaussian, config: PlannerConfig
) -> Tensor:
    """Return the candidates of every root, [R, K, A]: mean, narrow, wide, gradient."""
    p, generator = config.proposals, view.generator
    parts = [squash(policy.mean).unsqueeze(-2)] if p.mean else []
    parts += [sample(policy, p.narrow, 1.0, generator)] if p.narrow else []
    parts += [sample(policy, p.wide, p.wide_scale, generator)] if p.wide else []
    if p.gradient:
        parts.append(torch.stack(climb(view, state, policy.mean, config), dim=-2))
    return torch.cat(parts, dim=-2) * view.model.action_mask[view.task].unsqueeze(-2)


def pick_heads(model: WorldModel, reduce: str, generator: torch.Generator | None) -> Tensor | None:
    """Draw the two value heads whose minimum counts, None where all heads count."""
    if not reduce.startswith("min2"):
        return None
    device = model.action_mask.device
    return torch.randperm(model.config.value_heads, generator=generator, device=device)[:2]


@torch.no_grad()
def plan(
    model: WorldModel,
    observation: Tensor,
    task: Tensor,
    config: PlannerConfig,
    generator: torch.Generator | None = None,
) -> mcts.SearchResult:
    """Search from observations [R, O] of tasks [R]; the model must be in eval mode.

    All tensors on the model's device. A compiled search draws from that device's own generator,
    which torch.manual_seed seeds: a compiled graph takes none as an argument.
    """
    if not config.compile:
        return _plan(model, observation, task, config, generator)
    on_gpu = observation.device.type == "cuda"
    if on_gpu:  # results of the last call may be overwritten from here on
        torch.compiler.cudagraph_mark_step_begin()
    return _compiled(on_gpu)(model, observation, task, config, None)


@functools.cache
def _compiled(on_gpu: bool) -> Callable[..., mcts.SearchResult]:
    """Return the search compiled for fixed shapes; on a GPU with CUDA graphs."""
    return torch.compile(_plan, dynamic=False, mode="reduce-overhead" if on_gpu else None)


def _plan(
    model: WorldModel,
    observation: Tensor,
    task: Tensor,
    config: PlannerConfig,
    generator: torch.Generator | None,
) -> mcts.SearchResult:
    with autocast(observation.device, config.precision):
        return _plan_here(model, observation, task, config, generator)


def _plan_here(
    model: WorldModel,
    observation: Tensor,
    task: Tensor,
    config: PlannerConfig,
    generator: torch.Generator | None,
) -> mcts.SearchResult:
    pick = pick_heads(model, config.value_reduce, generator)
    view = ModelView(model, task, pick, config, generator)
    state = model.encode(observation, view.e)
    features = model.features(state, view.e)
    value = model.value(features, pick, config.value_reduce)
    candidates = root_candidates(view, state, model.policy(features, task), config)
    return mcts.search(mcts.Root(state, value, candidates), view, config.search)
