"""The shared world model: representation, dynamics, reward, value heads and policy, given a task.

Knows no search, no loss and no environment. Layer tables: EZ-M release, ModelConfig has the sizes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.config import ModelConfig
from training.networks import Heads, LNTanh, ResidualTransition, RunningNorm, blocks
from training.phrases import PhraseEmbedding
from training.policy_head import Gaussian, gaussian
from training.support import Support


class WorldModel(nn.Module):
    """All networks of EZ-M; `e` below is the task embedding [..., E], concatenated everywhere."""

    action_mask: Tensor  # [T, A]

    def __init__(
        self,
        config: ModelConfig,
        observation: int,
        action_dims: Sequence[int],
        phrases: Tensor | None = None,
    ):
        """Build the networks for `len(action_dims)` tasks.

        Args:
            config: sizes.
            observation: padded observation size O.
            action_dims: number of actuators of each task; A is the largest.
            phrases: vectors [T, P, D] that tell the tasks; none: their embeddings are learnt.
        """
        super().__init__()
        self.config = config
        tasks, action = len(action_dims), max(action_dims)
        d, e, w = config.latent, config.task_embedding, config.width
        mask = torch.zeros(tasks, action)
        for task, dim in enumerate(action_dims):
            mask[task, :dim] = 1.0
        self.register_buffer("action_mask", mask)
        self.obs_norm = RunningNorm(observation)
        if phrases is None:
            self.task_embedding = nn.Embedding(tasks, e)
            with torch.no_grad():  # inside the ball that `embed` projects to: a whole gradient
                self.task_embedding.weight.copy_(self.embed(torch.arange(tasks)))
        else:
            self.task_embedding = PhraseEmbedding(phrases, e)
        self.encoder = nn.Sequential(LNTanh(observation + e, d), blocks(config.blocks, d, w))
        self.dynamics = ResidualTransition(d, e + action, w, config.blocks)
        self.action_embedding = LNTanh(action + e, config.action_embedding)
        self.reward_trunk = ResidualTransition(
            d, e + config.action_embedding, w, config.reward_blocks
        )
        norm, hidden = config.head_norm, config.head_hidden
        self.reward_head = Heads(1, d, hidden, config.bins, norm, zero_last=True)
        self.trunk = nn.Sequential(blocks(config.blocks, d + e, d + e), nn.LayerNorm(d + e))
        self.value_head = Heads(
            config.value_heads, d + e, hidden, config.bins, norm, zero_last=False
        )
        if config.value_slope:
            with torch.no_grad():
                self.value_head.last.bias.sub_(config.value_slope * torch.arange(config.bins))
        self.policy_head = Heads(1, d + e, config.policy_hidden, 2 * action, norm, zero_last=True)
        p = config.projector
        self.projector = nn.Sequential(
            nn.Linear(d, p), nn.LayerNorm(p), nn.ReLU(), nn.Linear(p, p), nn.LayerNorm(p),
            nn.ReLU(), nn.Linear(p, d), nn.LayerNorm(d),
        )  # fmt: skip
        self.predictor = nn.Sequential(nn.Linear(d, p), nn.LayerNorm(p), nn.ReLU(), nn.Linear(p, d))
        self.reward_support = Support(*config.reward_range, config.bins, config.support)
        self.value_support = Support(*config.value_range, config.bins, config.support)

    @property
    def phrases(self) -> Tensor | None:
        """The vectors [T, P, D] that tell the tasks, none if their embeddings are learnt."""
        embedding = self.task_embedding
        return embedding.phrases if isinstance(embedding, PhraseEmbedding) else None

    def embed(self, task: Tensor) -> Tensor:
        """Return the embedding of task indices [...], its norm at most 1."""
        e = self.task_embedding(task)
        return e / e.norm(dim=-1, keepdim=True).clamp_min(1.0)

    def encode(self, observation: Tensor, e: Tensor) -> Tensor:
        """Map an observation [..., O] to a latent [..., D]."""
        return self.encoder(torch.cat([self.obs_norm(observation), e], dim=-1))

    def next(self, state: Tensor, e: Tensor, action: Tensor) -> Tensor:
        """Map a latent and an action [..., A] to the next latent."""
        return self.dynamics(state, torch.cat([e, action], dim=-1))

    def reward_logits(self, state: Tensor, e: Tensor, action: Tensor) -> Tensor:
        """Return logits [..., bins] of the reward of taking `action` in `state`."""
        embedded = self.action_embedding(torch.cat([action, e], dim=-1))
        x = self.reward_trunk(state, torch.cat([e, embedded], dim=-1))
        return self.reward_head(x).squeeze(-2)

    def features(self, state: Tensor, e: Tensor) -> Tensor:
        """Return what the value heads and the policy share, [..., D + E]."""
        return self.trunk(torch.cat([state, e], dim=-1))

    def value_logits(self, features: Tensor, pick: Tensor | None = None) -> Tensor:
        """Return logits [..., H, bins] of all value heads, or of the picked ones."""
        return self.value_head(features, pick)

    def policy(self, features: Tensor, task: Tensor) -> Gaussian:
        """Return the action distribution before tanh."""
        raw = self.policy_head(features).squeeze(-2)
        return gaussian(raw, self.action_mask[task], self.config.log_std_range)

    def reward(self, state: Tensor, e: Tensor, action: Tensor) -> Tensor:
        """Return the expected reward [...]."""
        return self.reward_support.decode(self.reward_logits(state, e, action))

    def value(self, features: Tensor, pick: Tensor | None, reduce: str) -> Tensor:
        """Return one value [...] from the heads: the least ("min…") or the mean of them."""
        decoded = self.value_support.decode(self.value_logits(features, pick))
        decoded = decoded.clamp(self.config.value_floor, 1e5)
        return decoded.amin(-1) if reduce.startswith("min") else decoded.mean(-1)


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable scalars."""
    return sum(p.numel() for p in model.parameters())
