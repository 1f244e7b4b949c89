"""Building blocks of the networks (EZ-M, state-based); know nothing of tasks or search."""

from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise

import torch
from torch import Tensor, nn

NORMS = ("batch", "layer")


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Return the context in which networks compute in `precision`; weights stay float32."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


class PreLNBlock(nn.Module):
    """y = x + W2 relu(W1 layer_norm(x)); no output activation."""

    def __init__(self, dim: int, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.inner = nn.Linear(dim, width)
        self.outer = nn.Linear(width, dim)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.outer(torch.relu(self.inner(self.norm(x))))


def blocks(count: int, dim: int, width: int) -> nn.Sequential:
    """Return `count` pre-norm residual blocks."""
    return nn.Sequential(*(PreLNBlock(dim, width) for _ in range(count)))


class LNTanh(nn.Sequential):
    """Linear, layer norm, tanh."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(nn.Linear(inputs, outputs), nn.LayerNorm(outputs), nn.Tanh())


class ResidualTransition(nn.Module):
    """state + MLP(layer_norm([state, rest])), then pre-norm blocks: dynamics and reward."""

    def __init__(self, state: int, rest: int, width: int, count: int):
        super().__init__()
        self.norm = nn.LayerNorm(state + rest)
        self.inner = nn.Linear(state + rest, width)
        self.outer = nn.Linear(width, state)
        self.blocks = blocks(count, state, width)

    def forward(self, state: Tensor, rest: Tensor) -> Tensor:
        x = self.norm(torch.cat([state, rest], dim=-1))
        return self.blocks(state + self.outer(torch.relu(self.inner(x))))


class _EnsembleLinear(nn.Module):
    """H linear layers side by side: [H, M, in] (or one shared [1, M, in]) -> [H, M, out]."""

    def __init__(self, heads: int, inputs: int, outputs: int):
        super().__init__()
        bound = inputs**-0.5  # the default of nn.Linear
        self.weight = nn.Parameter(torch.empty(heads, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(heads, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor, pick: Tensor | None) -> Tensor:
        weight = self.weight if pick is None else self.weight[pick]
        bias = self.bias if pick is None else self.bias[pick]
        if len(weight) == 1:
            return torch.addmm(bias[0], x[0], weight[0]).unsqueeze(0)
        return torch.baddbmm(bias, x.expand(len(weight), *x.shape[1:]), weight)


class _EnsembleNorm(nn.Module):
    """Batch or layer norm of [H, M, features], its affine weights per head."""

    def __init__(self, heads: int, features: int, norm: str):
        super().__init__()
        self.batch = nn.BatchNorm1d(heads * features) if norm == "batch" else None
        if norm == "layer":
            self.weight = nn.Parameter(torch.ones(heads, 1, features))
            self.bias = nn.Parameter(torch.zeros(heads, 1, features))

    def forward(self, x: Tensor, pick: Tensor | None) -> Tensor:
        if self.batch is None:
            weight = self.weight if pick is None else self.weight[pick]
            bias = self.bias if pick is None else self.bias[pick]
            return torch.addcmul(bias, nn.functional.layer_norm(x, x.shape[-1:]), weight)
        heads, rows, features = x.shape
        flat = x.transpose(0, 1).reshape(rows, heads * features)
        flat = self.batch(flat) if pick is None else self._as_learnt(flat, pick, features)
        return flat.view(rows, heads, features).transpose(0, 1)

    def _as_learnt(self, flat: Tensor, pick: Tensor, features: int) -> Tensor:
        """Normalise [M, h * features] by the running statistics of the picked heads [h]."""
        batch = self.batch
        assert batch is not None and batch.running_mean is not None
        assert batch.running_var is not None
        every = batch.running_mean, batch.running_var, batch.weight, batch.bias
        mean, var, weight, bias = (own.view(-1, features)[pick].flatten() for own in every)
        return nn.functional.batch_norm(flat, mean, var, weight, bias, eps=batch.eps)


class Heads(nn.Module):
    """H independent MLPs on one input: Linear, norm, ReLU per hidden layer, then Linear."""

    def __init__(
        self,
        heads: int,
        inputs: int,
        hidden: tuple[int, ...],
        outputs: int,
        norm: str,
        zero_last: bool,
    ):
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"unknown head norm {norm!r}; there are {NORMS}")
        self.batch_norm = norm == "batch"
        sizes = (inputs, *hidden)
        pairs = list(pairwise(sizes))
        self.layers = nn.ModuleList(_EnsembleLinear(heads, i, o) for i, o in pairs)
        self.norms = nn.ModuleList(_EnsembleNorm(heads, o, norm) for _, o in pairs)
        self.last = _EnsembleLinear(heads, sizes[-1], outputs)
        if zero_last:
            nn.init.zeros_(self.last.weight)
            nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, pick: Tensor | None = None) -> Tensor:
        """Map [..., inputs] to [..., H, outputs]; `pick` [h] returns only those heads.

        While batch norm learns, [B, P, inputs] is P batches, one after another: every position of
        an unroll is normalised by itself (as released).
        """
        if self.batch_norm and self.training and x.dim() == 3:
            return torch.stack([self._answer(part, pick) for part in x.unbind(1)], 1)
        return self._answer(x, pick)

    def _answer(self, x: Tensor, pick: Tensor | None) -> Tensor:
        # while batch norm learns, the heads that were not picked learn their statistics too
        early = None if self.batch_norm and self.training else pick
        y = x.reshape(1, -1, x.shape[-1])
        for layer, norm in zip(self.layers, self.norms, strict=True):
            y = torch.relu(norm(layer(y, early), early))
        y = self.last(y, early).transpose(0, 1)
        y = y.reshape(*x.shape[:-1], *y.shape[1:])
        return y if early is pick else y[..., pick, :]


class RunningNorm(nn.Module):
    """Running mean and variance of observations (Chan et al.), all of it in buffers."""

    mean: Tensor  # [dim]
    var: Tensor  # [dim]
    count: Tensor  # []

    def __init__(self, dim: int, pseudo_count: float = 1e3):
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("var", torch.ones(dim))
        self.register_buffer("count", torch.tensor(pseudo_count))

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Absorb a batch [M, dim]."""
        var, mean = torch.var_mean(x, dim=0, correction=0)
        total = self.count + x.shape[0]
        delta = mean - self.mean
        share = x.shape[0] / total
        spread = self.var * (self.count / total) + var * share
        self.var.copy_(spread + delta**2 * (self.count / total) * share)
        self.mean.add_(delta * share)
        self.count.copy_(total)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) * torch.rsqrt(self.var + 1e-5)
