"""Categorical supports: scalars as two-hot distributions over atoms; knows no network."""

import torch
from torch import Tensor, nn

TRANSFORMS = ("h", "linear")


def squash(x: Tensor) -> Tensor:
    """Return h(x) = sign(x) (sqrt(|x| + 1) - 1) + 0.001 x."""
    return torch.sign(x) * (torch.sqrt(x.abs() + 1.0) - 1.0) + 0.001 * x


def unsquash(y: Tensor) -> Tensor:
    """Return the closed-form inverse of `squash`."""
    root = torch.sqrt(1.0 + 0.004 * (y.abs() + 1.001))
    return torch.sign(y) * (((root - 1.0) / 0.002) ** 2 - 1.0)


class Support(nn.Module):
    """`bins` atoms spaced evenly between low and high, in h-space or linearly."""

    atoms: Tensor  # [bins], in transformed space
    index: Tensor  # [bins]: 0, 1, 2, ...

    def __init__(self, low: float, high: float, bins: int, transform: str):
        super().__init__()
        if transform not in TRANSFORMS:
            raise ValueError(f"unknown support transform {transform!r}; there are {TRANSFORMS}")
        if not low < high or bins < 2:
            raise ValueError(f"a support needs low < high and two bins; got {low}, {high}, {bins}")
        self.low, self.high, self.bins, self.transform = low, high, bins, transform
        ends = self._forward(torch.tensor([low, high], dtype=torch.float64))
        self.start = float(ends[0])
        self.width = float(ends[1] - ends[0]) / (bins - 1)
        atoms = torch.linspace(float(ends[0]), float(ends[1]), bins, dtype=torch.float64)
        self.register_buffer("atoms", atoms.float(), persistent=False)
        self.register_buffer("index", torch.arange(bins).float(), persistent=False)

    def _forward(self, x: Tensor) -> Tensor:
        return squash(x) if self.transform == "h" else x

    def encode(self, x: Tensor) -> Tensor:
        """Return the two-hot weights of `x` [...], [..., bins]; values outside are clipped."""
        place = (self._forward(x.clamp(self.low, self.high)) - self.start) / self.width
        return (1.0 - (place.unsqueeze(-1) - self.index).abs()).clamp_min(0.0)

    def decode(self, logits: Tensor) -> Tensor:
        """Return the scalar of `logits` [..., bins]: inverse transform of the mean atom."""
        mean = (torch.softmax(logits.float(), dim=-1) * self.atoms).sum(-1)
        return unsquash(mean) if self.transform == "h" else mean
