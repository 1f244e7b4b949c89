"""Turn a replay batch into training targets with the moving-average network."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training import targets as value_targets
from training.config import TargetConfig
from training.networks import autocast
from training.planner import ModelView, PlannerConfig, foresee, pick_heads, plan
from training.replay import Batch
from training.world_model import WorldModel


@dataclass(frozen=True)
class TrainingBatch:
    """Everything a loss needs, as tensors; P = U + 1 positions."""

    task: Tensor  # [B] long
    observation: Tensor  # [B, P, O]
    action: Tensor  # [B, U, A]
    reward: Tensor  # [B, U]
    value: Tensor  # [B, P] targets
    policy: Tensor  # [B, P, A] actions to imitate
    weight: Tensor  # [B]
    step_mask: Tensor  # [B, P] the position exists
    policy_mask: Tensor  # [B, P] weight of the policy target; 0: none, or stale


@dataclass(frozen=True)
class Searched:
    """Fresh search results for some rows of a batch."""

    rows: np.ndarray  # [b] rows of the batch
    action: Tensor  # [b, k, A]
    value: Tensor  # [b, k]
    facts: dict[str, float]


def search_rows(
    model: WorldModel,
    batch: Batch,
    config: TargetConfig,
    planner: PlannerConfig,
    generator: torch.Generator | None,
) -> Searched:
    """Search at the first `reanalyse_positions` frames of `reanalyse_share` of the rows.

    The rows whose stored result is oldest come first, equally old ones by lot; demonstrations,
    which say themselves what to do, are not searched.
    """
    count = config.reanalyse_positions
    share = round(config.reanalyse_share * len(batch.task))
    device = model.action_mask.device
    lot = torch.randperm(len(batch.task), generator=generator, device=device).cpu().numpy()
    oldest = lot[np.argsort(batch.stored_at[lot, 0], kind="stable")]
    rows = np.sort(oldest[:share][~batch.demo[oldest[:share]]])
    if not len(rows):
        return _nothing(model, batch, config)
    observation = torch.from_numpy(batch.observation[rows, :count]).to(device).flatten(0, 1)
    task = torch.from_numpy(batch.task[rows]).to(device).repeat_interleave(count)
    result = plan(model, observation, task, planner, generator)
    action = result.action
    if config.policy_target == "weighted":
        action = (result.weights().unsqueeze(-1) * result.actions).sum(-2)
    p = planner.proposals
    kinds = np.repeat(np.arange(4), (p.mean, p.narrow, p.wide, p.gradient))
    won = np.bincount(kinds[result.best.cpu().numpy()], minlength=4) / len(result.best)
    gain = (result.q.max(1).values - result.q.median(1).values).mean()
    facts = {f"won_{name}": float(won[i]) for i, name in enumerate(_KINDS)}
    facts["searches"] = float(len(task))
    facts |= {"search_gain": float(gain), "search_value": float(result.value.mean())}
    return Searched(
        rows, action.unflatten(0, (-1, count)), result.value.unflatten(0, (-1, count)), facts
    )


def _nothing(model: WorldModel, batch: Batch, config: TargetConfig) -> Searched:
    """Return the results of no search."""
    shape = 0, config.reanalyse_positions, batch.action.shape[-1]
    none = torch.zeros(shape, device=model.action_mask.device)
    return Searched(np.zeros(0, np.int64), none, none[..., 0], {"searches": 0.0})


_KINDS = ("mean", "narrow", "wide", "gradient")


@torch.no_grad()
def reanalyse(
    model: WorldModel,
    batch: Batch,
    config: TargetConfig,
    planner: PlannerConfig,
    updates: int,
    generator: torch.Generator | None = None,
    imitation: float = 1.0,
) -> tuple[TrainingBatch, Searched]:
    """Return the training batch of the update after `updates`, and the fresh searches in it.

    `imitation`: weight of the policy target on demonstrations. Every `reanalyse_every`-th batch is
    searched; which, the number of the update says, so that a resumed run searches the same ones.
    """
    positions, device = config.unroll + 1, model.action_mask.device

    def on(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(device)

    alive = on(batch.alive)[:, :positions]
    final = on(batch.final)
    steps = torch.where(on(batch.own), config.td_steps, 1).unsqueeze(1)
    if config.imagined_share:
        lot = torch.rand(steps.shape, generator=generator, device=device)
        steps = torch.where(lot < config.imagined_share, 0, steps)
    index = value_targets.bootstrap_index(final, positions, steps)
    frames = on(batch.observation)
    task = on(batch.task)
    boot = frames.gather(1, index.unsqueeze(-1).expand(-1, -1, frames.shape[-1]))
    e = model.embed(task).unsqueeze(1).expand(-1, positions, -1)
    pick = pick_heads(model, config.value_reduce, generator)
    with autocast(device, planner.precision):
        state = model.encode(boot, e)
        if config.lookahead:
            tasks = task.repeat_interleave(positions)
            view = ModelView(model, tasks, pick, planner, generator)
            value = foresee(view, state.flatten(0, 1), config.lookahead).unflatten(0, index.shape)
        else:
            value = model.value(model.features(state, e), pick, config.value_reduce)
    at_end = (index == final.unsqueeze(1)) & on(batch.terminal).unsqueeze(1)
    value = torch.where(at_end, 0.0, value)
    reward = on(batch.reward)
    z = value_targets.n_step_return(reward, index, value, planner.search.discount)

    due = updates % config.reanalyse_every == 0
    fresh = (
        search_rows(model, batch, config, planner, generator)
        if due
        else _nothing(model, batch, config)
    )
    count, rows = config.reanalyse_positions, on(fresh.rows)
    policy = on(batch.stored_action[:, :positions]).clone()
    policy[rows, :count] = fresh.action

    def usable(made_at: np.ndarray) -> Tensor:
        at = on(made_at[:, :positions])
        return (at >= 0) & (updates - at <= config.policy_staleness)

    imitable = usable(batch.stored_at)
    imitable[rows, :count] = True
    belief = torch.where(on(batch.demo), imitation, 1.0).unsqueeze(1)
    acts = alive & (torch.arange(positions, device=device) < final.unsqueeze(1))
    if updates >= config.search_value_after:
        kept = on(batch.stored_value[:, :positions]).to(z.dtype)
        # what was not searched, neither now nor lately, keeps its TD target
        searched = torch.where(usable(batch.valued_at), kept, z)
        searched[rows, :count] = fresh.value
        newest = on(batch.newest) < config.search_value_newest
        mixed = value_targets.mixed_value(z, searched, updates, newest, config.search_value_after)
        z = torch.where(acts, mixed, z)  # a final frame has no action to search
    unroll = config.unroll
    training_batch = TrainingBatch(
        task=task,
        observation=frames[:, :positions],
        action=on(batch.action[:, :unroll]),
        reward=reward[:, :unroll],
        value=z,
        policy=policy,
        weight=on(batch.weight),
        step_mask=alive,
        policy_mask=(acts & imitable) * belief,
    )
    return training_batch, fresh
