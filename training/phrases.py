"""Task embeddings from phrases: fixed vectors of a text encoder, a learnt projection.

Knows no text and no encoder; training/language.py makes the vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PhraseEmbedding(nn.Module):
    """In training each row hears a phrase of its task at random, otherwise the mean of them.

    Vectors are centred and scaled to length 1 first: what all tasks say alike ("go to the …")
    tells nothing, and would make their embeddings nearly parallel.
    """

    phrases: Tensor  # [T, P, D]
    centre: Tensor  # [D]
    spoken: Tensor  # [T, D] what the tasks are told outside training

    def __init__(self, phrases: Tensor, size: int):
        super().__init__()
        self.register_buffer("phrases", phrases.float())
        self.register_buffer("centre", self.phrases.mean((0, 1)))
        self.register_buffer("spoken", self.phrases.mean(1))
        self.project = nn.Linear(phrases.shape[-1], size)
        with torch.no_grad():  # a unit vector becomes one of length about 1, as rows of a table are
            self.project.weight.normal_(std=size**-0.5)
            self.project.bias.zero_()

    def forward(self, task: Tensor) -> Tensor:
        """Return the embedding of task indices [...], [..., E]."""
        if self.training:
            pick = torch.randint(self.phrases.shape[1], task.shape, device=task.device)
            return self.of(self.phrases[task, pick])
        return self.of(self.spoken[task])

    def of(self, vectors: Tensor) -> Tensor:
        """Return the embedding of the encoder's vectors [..., D]."""
        return self.project(nn.functional.normalize(vectors - self.centre, dim=-1))
