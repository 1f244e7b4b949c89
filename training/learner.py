"""One gradient step: unroll the model along a batch, sum losses, step Adam, move the average."""

import copy

import torch
from torch import Tensor

from training import losses
from training.config import LossConfig, TrainConfig
from training.policy_head import entropy_term, log_prob
from training.reanalyse import TrainingBatch
from training.schedules import learning_rate
from training.world_model import WorldModel

ENTROPY_SIGN = {"as-released": 1.0, "off": 0.0, "bonus": -1.0}  # times A x coefficient x entropy


def unrolled_losses(
    model: WorldModel, batch: TrainingBatch, config: LossConfig, discount: float
) -> tuple[dict[str, Tensor], Tensor]:
    """Return every loss term per sample [B], and the mean-head value of position 0 [B].

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
            following = decoded[:, 1:].mean(-1)
            path = model.reward_support.decode(reward_logits) + discount * following
            path_target = model.value_support.encode(path)
        per_step = losses.ensemble_cross_entropy(
            value_logits[:, :-1], path_target, config.head_weight
        )
        terms["path_consistency"] = losses.masked_sum(per_step, step)
    if config.entropy_mode != "off":
        action_dim = batch.action.shape[-1]
        sign = ENTROPY_SIGN[config.entropy_mode] * action_dim
        terms["entropy"] = losses.masked_sum(sign * entropy_term(policy), every)
    return terms, decoded[:, 0].mean(-1)


class Learner:
    """Owns the weights being trained, their moving average, and the optimiser."""

    def __init__(self, model: WorldModel, config: TrainConfig):
        self.config = config
        self.model = model.train()
        self.average = copy.deepcopy(model).eval().requires_grad_(False)
        self.optimizer = torch.optim.Adam(
            model.parameters(), lr=config.optim.lr, weight_decay=config.optim.l2, fused=True
        )
        self.updates = 0
        self._losses = unrolled_losses
        if config.optim.compile:
            self._losses = torch.compile(unrolled_losses, dynamic=False)

    def update(self, batch: TrainingBatch) -> tuple[dict[str, float], Tensor]:
        """Take one step; return metrics and the value error of the roots [B]."""
        config = self.config
        model = self.model
        model.obs_norm.update(batch.observation[batch.step_mask])
        terms, root_value = self._losses(model, batch, config.loss, config.search.discount)
        unroll = config.targets.unroll
        total = sum(getattr(config.loss, name) * term for name, term in terms.items()) / unroll
        loss = (batch.weight * total).mean()
        for group in self.optimizer.param_groups:
            progress = self.updates / config.updates
            group["lr"] = learning_rate(config.optim.lr, progress, config.optim.drop_at)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.optim.clip)
        if not norm.isfinite():
            raise FloatingPointError(f"the gradient of update {self.updates} is not finite")
        self.optimizer.step()
        self.updates += 1
        if self.updates % config.optim.ema_every == 0:
            self._move_average(config.optim.ema)
        error = (root_value.detach() - batch.value[:, 0]).abs()
        metrics = {f"loss_{k}": float(v.detach().mean()) / unroll for k, v in terms.items()}
        metrics |= {
            "loss": float(loss.detach()),
            "grad_norm": float(norm),
            "value_target": float(batch.value.mean()),
            "value_error": float(error.mean()),
        }
        return metrics, error

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
