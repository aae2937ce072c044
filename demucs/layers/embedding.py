"""Frequency embedding, a positional encoding for convolutions over frequency (Isik et al. 2020; Défossez 2021, section
3.2).
"""

import torch
from torch import nn


class FrequencyEmbedding(nn.Module):
    """Learned vector per frequency bin, added to the input [B, C, F, T], with the same shape as output.

    Args:
        bins: number of frequency bins F.
        channels: number of channels C.
        weight: gain of the embedding.
        scale: factor between the stored parameter and the embedding, which multiplies its learning rate under Adam.
        smooth: initialise with a random walk over frequency, scaled to unit variance, instead of white noise.
    """

    def __init__(self, bins: int, channels: int, *, weight: float, scale: float, smooth: bool):
        super().__init__()
        self.embedding = nn.Embedding(bins, channels)
        self.weight = weight
        self.scale = scale
        start = self.embedding.weight.data
        if smooth:
            # A sum of n unit Gaussians has standard deviation sqrt(n).
            start = start.cumsum(dim=0) / torch.arange(1, bins + 1).to(start).sqrt()[:, None]
        self.embedding.weight.data = start / scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        table = self.embedding.weight * self.scale                # [F, C]
        return x + self.weight * table.t()[:, :, None]
