"""One gradient step: unroll the model along a batch, sum losses, step Adam, move the average."""

import copy
import math
from typing import NamedTuple

import torch
from torch import Tensor

from training import faults, losses, parallel
from training.config import LossConfig, OptimConfig, TrainConfig
from training.gradients import cosines, mean_by_task
from training.networks import autocast
from training.policy_head import Gaussian, entropy_term, log_prob
from training.reanalyse import TrainingBatch
from training.schedules import learning_rate
from training.world_model import WorldModel

ENTROPY_SIGN = {"as-released": 1.0, "bonus": -1.0}  # times A x coefficient x entropy


class Roots(NamedTuple):
    """What the model says of a batch's first frames; without gradient."""

    value: Tensor  # [B] mean of the heads
    log_sigma: Tensor  # [B] mean over the joints


def unrolled_losses(
    model: WorldModel, batch: TrainingBatch, config: LossConfig, discount: float
) -> tuple[dict[str, Tensor], Roots]:
    """Return every loss term per sample [B], and what is said of position 0.

    Gradients through each recurrent latent are halved; path consistency and temporal consistency
    have detached targets.
    """
    positions = batch.observation.shape[1]
    e = model.embed(batch.task)
    e_all = e.unsqueeze(1).expand(-1, positions, -1)
    state = model.encode(batch.observation[:, 0], e)
    states, rewards = [state], []
    for k in range(positions - 1):
        rewards.append(model.reward_logits(states[k], e, batch.action[:, k]))
        states.append(losses.halve_gradient(model.next(states[k], e, batch.action[:, k])))
    latent = torch.stack(states, 1)  # [B, P, D]
    reward_logits = torch.stack(rewards, 1)  # [B, U, bins]
    features = model.features(latent, e_all)
    value_logits = model.value_logits(features)  # [B, P, H, bins]
    policy = model.policy(features, batch.task.unsqueeze(1).expand(-1, positions))

    step = batch.step_mask[:, 1:].to(latent.dtype)  # of what is predicted at step k + 1
    every = batch.step_mask.to(latent.dtype)
    value_target = model.value_support.encode(batch.value)
    reward_target = model.reward_support.encode(batch.reward)
    mask = model.action_mask[batch.task].unsqueeze(1)
    imitation = -log_prob(policy, batch.policy, mask)
    terms = {
        "reward": losses.masked_sum(losses.cross_entropy(reward_logits, reward_target), step),
        "value": losses.masked_sum(
            losses.ensemble_cross_entropy(value_logits, value_target, config.head_weight), every
        ),
        "policy": losses.masked_sum(imitation, batch.policy_mask.to(latent.dtype)),
    }
    if config.consistency:
        with torch.no_grad():
            seen = model.projector(model.encode(batch.observation[:, 1:], e_all[:, 1:]))
        guess = model.predictor(model.projector(latent[:, 1:]))
        terms["consistency"] = losses.masked_sum(losses.negative_cosine(guess, seen), step)
    decoded = model.value_support.decode(value_logits)  # [B, P, H]
    if config.path_consistency:
        with torch.no_grad():
            heads = decoded[:, 1:]
            following = heads.mean(-1) if config.path_target == "mean" else heads.amin(-1)
            path = model.reward_support.decode(reward_logits) + discount * following
            path_target = model.value_support.encode(path)
        per_step = losses.ensemble_cross_entropy(
            value_logits[:, :-1], path_target, config.head_weight
        )
        terms["path_consistency"] = losses.masked_sum(per_step, step)
    if config.entropy_mode != "off":
        terms["entropy"] = losses.masked_sum(entropy_loss(policy, config), every)
    return terms, Roots(decoded[:, 0].mean(-1).detach(), policy.log_std[:, 0].mean(-1).detach())


def entropy_loss(policy: Gaussian, config: LossConfig) -> Tensor:
    """Return the entropy's loss [...], as `loss.entropy_mode` has it.

    "target": downhill is towards `entropy_target`, the faster the farther the mean entropy is.
    """
    entropy, joints = entropy_term(policy), policy.mean.shape[-1]
    if config.entropy_mode == "target":
        return (entropy.detach().mean() - joints * config.entropy_target) * entropy
    return ENTROPY_SIGN[config.entropy_mode] * joints * entropy


def ascent(model: WorldModel, critic: WorldModel, batch: TrainingBatch, discount: float) -> Tensor:
    """Return -Q [B] of an action that the policy draws at the root, in its task's mean |Q|.

    Q(s, a) = r(s, a) + discount V(s') of `critic`, whose weights are frozen: the gradient reaches
    the policy through the action alone, and of the model only its policy head.
    """
    observation, task = batch.observation[:, 0], batch.task
    mask = model.action_mask[task]
    with torch.no_grad():
        mine, e = model.embed(task), critic.embed(task)
        features = model.features(model.encode(observation, mine), mine)
        state = critic.encode(observation, e)
    policy = model.policy(features, task)
    noise = torch.randn_like(policy.mean)
    action = torch.tanh(policy.mean + policy.log_std.exp() * noise) * mask
    following = critic.features(critic.next(state, e, action), e)
    q = critic.reward(state, e, action) + discount * critic.value(following, None, "mean")
    size = mean_by_task(q.detach().abs(), task, len(model.action_mask)).clamp_min(1e-3)
    return -q / size[task]


def untrained_like(model: WorldModel) -> WorldModel:
    """Return a model of the same sizes with weights of its own (the release's workers begin so)."""
    sizes = model.obs_norm.mean.shape[0], model.action_mask.sum(1).int().tolist()
    return WorldModel(model.config, *sizes, model.phrases).to(model.action_mask.device)


def optimizer(model: WorldModel, config: OptimConfig) -> torch.optim.Optimizer:
    """Return Adam with L2 on everything, or AdamW that spares norms, biases and task embeddings."""
    if config.decay == "adam":
        return torch.optim.Adam(
            model.parameters(), lr=config.lr, weight_decay=config.l2, fused=True
        )
    matrices = [
        p for n, p in model.named_parameters() if n.endswith("weight") and "norm" not in n
        and p.dim() > 1 and not n.startswith("task_embedding")
    ]  # fmt: skip
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    groups = [{"params": matrices}, {"params": rest, "weight_decay": 0.0}]
    # AdamW multiplies its decay by the learning rate, L2 in Adam's gradient is of the order of 1
    return torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.l2 / config.lr, fused=True)


@torch.no_grad()
def _copy(ours: list[Tensor], theirs: list[Tensor]) -> None:
    """Ours become as theirs, in few launches on a GPU."""
    torch._foreach_copy_(ours, theirs)  # pyright: ignore[reportPrivateImportUsage]


class Learner:
    """Owns the weights being trained, their moving average, and the optimiser."""

    def __init__(self, model: WorldModel, config: TrainConfig):
        self.config = config
        self.model = model.train()
        self.average = (copy.deepcopy(model) if config.optim.average_start == "copy" else
                        untrained_like(model)).eval().requires_grad_(False)  # fmt: skip
        self.optimizer = optimizer(model, config.optim)
        self.updates = 0
        self.skipped = 0  # of them, how many at the end were skipped one after the other
        self.guilty: Tensor | None = None  # [B] bool: to blame for it, if the last was skipped
        self.reason = ""  # why it was
        self._before = [buffer.clone() for buffer in model.buffers()]
        self._losses = unrolled_losses
        if config.optim.compile:
            self._losses = torch.compile(unrolled_losses, dynamic=False)

    def update(self, batch: TrainingBatch) -> tuple[dict[str, float], Tensor]:
        """Take one step; return metrics and the value error of the roots [B].

        Where a sample or a gradient is not finite, the step is skipped, in all processes alike:
        weights, average, statistics and Adam stay, the metrics are empty, `guilty` says whose
        fault it was.

        Raises:
            FloatingPointError: `faults.IN_A_ROW` updates were skipped one after the other.
        """
        config = self.config
        model = self.model
        _copy(self._before, list(model.buffers()))
        if not 0 < config.optim.freeze_norm_after <= self.updates:
            sound = batch.observation.isfinite().all(-1)  # one bad frame would blind all samples
            model.obs_norm.update(batch.observation[batch.step_mask & sound])
        measured = bool(config.cosine_every) and self.updates % config.cosine_every == 0
        unrolled = unrolled_losses if measured else self._losses  # compiled: one backward only
        with autocast(batch.value.device, config.precision):
            terms, roots = unrolled(model, batch, config.loss, config.search.discount)
            if config.loss.ascent:
                terms["ascent"] = ascent(model, self.average, batch, config.search.discount)
        unroll = config.targets.unroll
        total = torch.as_tensor(
            sum(getattr(config.loss, name) * term for name, term in terms.items()) / unroll
        )
        error = (roots.value - batch.value[:, 0]).abs()
        data, result = faults.faulty(batch), ~(total.isfinite() & error.isfinite())
        weighted = batch.weight * total
        # not finite on one process, the averaged gradients are not on any
        loss = weighted.mean() * torch.where((data | result).any(), torch.nan, 1.0)
        angles = cosines(model, weighted, batch.task, config.tasks) if measured else {}
        for group in self.optimizer.param_groups:
            progress = self.updates / config.online_updates
            group["lr"] = learning_rate(config.optim.lr, progress, config.optim.drop_at)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        parallel.average_gradients(model)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.optim.clip)
        figures = {f"loss_{k}": v.detach().mean() / unroll for k, v in terms.items()}
        figures |= {
            "loss": loss.detach(),
            "grad_norm": norm,
            "value_target": batch.value.mean(),
            "value_error": error.mean(),
            "log_sigma": roots.log_sigma.mean(),
        }
        numbers = torch.stack([figure.float() for figure in figures.values()]).tolist()  # one wait
        metrics = dict(zip(figures, numbers, strict=True))
        if not math.isfinite(metrics["grad_norm"]):  # the same on all processes
            self._skip(batch, data, result, {name: metrics[f"loss_{name}"] for name in terms})
            return {}, error
        self._step()
        return metrics | angles | self._by_task(total, batch.task), error

    def _step(self) -> None:
        """Let the gradients change the weights."""
        self.optimizer.step()
        parallel.average_statistics(self.model)
        self.updates += 1
        self.skipped, self.guilty, self.reason = 0, None, ""
        if self.updates % self.config.optim.ema_every == 0:
            self._move_average(self.config.optim.ema)

    def _skip(
        self, batch: TrainingBatch, data: Tensor, result: Tensor, terms: dict[str, float]
    ) -> None:
        """Count an update, change nothing else; data, result: the samples [B] at fault."""
        _copy(list(self.model.buffers()), self._before)
        self.optimizer.zero_grad(set_to_none=True)
        self.guilty = faults.guilty(data, result)
        self.reason = faults.reason(self.updates, batch, self.guilty, terms, self.config.tasks)
        self.updates += 1
        self.skipped += 1
        if self.skipped >= faults.IN_A_ROW:
            raise FloatingPointError(
                f"{self.skipped} updates in a row were not finite, from update "
                f"{self.updates - self.skipped} on; the last was {self.reason}"
            )

    def _by_task(self, total: Tensor, task: Tensor) -> dict[str, float]:
        """Return `loss_task/<name>`, the unweighted loss of every task in the batch."""
        names = self.config.tasks
        if len(names) < 2:
            return {}
        means = mean_by_task(total.detach(), task, len(names)).tolist()
        return {f"loss_task/{n}": v for n, v in zip(names, means, strict=True) if v == v}

    @torch.no_grad()
    def _move_average(self, rate: float) -> None:
        """average <- (1 - rate) average + rate model, parameters and floating buffers."""
        ours = [*self.average.parameters(), *self.average.buffers()]
        theirs = [*self.model.parameters(), *self.model.buffers()]
        pairs = list(zip(ours, theirs, strict=True))
        floats = [(a, b) for a, b in pairs if a.is_floating_point()]
        torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]
            [a for a, _ in floats], [b for _, b in floats], rate
        )
        for a, b in pairs:
            if not a.is_floating_point():
                a.copy_(b)
