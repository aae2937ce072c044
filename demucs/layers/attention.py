"""Attention over time that prefers the near past and future (Défossez 2021, "Hybrid Spectrogram and Waveform Source
Separation", section 3.3)."""

import torch
from torch import nn


class LocalAttention(nn.Module):
    """Residual multi-head attention without positional embedding: [B, C, T] -> [B, C, T].

    Each query asks for its own reach: `ndecay` controls in (0, 1/2), weighted 1..ndecay, set how fast the score falls
    with distance in time. A step never attends to itself, since the residual path already carries it.
    """

    SELF_SCORE = -100.   # instead of -inf, so that a sequence of one step stays finite

    def __init__(self, channels: int, *, heads: int = 4, ndecay: int = 4):
        super().__init__()
        if channels % heads:
            raise ValueError(f"attention needs channels divisible by its {heads} heads, got {channels}")
        self.heads = heads
        self.ndecay = ndecay
        self.content = nn.Conv1d(channels, channels, 1)
        self.query = nn.Conv1d(channels, channels, 1)
        self.key = nn.Conv1d(channels, channels, 1)
        self.query_decay = nn.Conv1d(channels, heads * ndecay, 1)
        # Start with small decay rates, that is with a wide reach: sigmoid(-2) is 0.12.
        self.query_decay.weight.data *= 0.01
        self.query_decay.bias.data[:] = -2
        self.proj = nn.Conv1d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, channels, steps = x.shape
        split = (batch, self.heads, -1, steps)
        query, key, content = (conv(x).view(split) for conv in (self.query, self.key, self.content))
        scores = query.transpose(2, 3) @ key / key.shape[2] ** 0.5               # [B, heads, query, key]

        # The published sum over decays of -k * |distance| * rate_k is linear in the distance: one slope per query.
        rates = self.query_decay(x).view(split).sigmoid() / 2                    # [B, heads, ndecay, query]
        weights = torch.arange(1, self.ndecay + 1, device=x.device, dtype=x.dtype) / self.ndecay ** 0.5
        slope = (rates * weights[:, None]).sum(2)
        time = torch.arange(steps, device=x.device, dtype=x.dtype)
        distance = (time[:, None] - time[None, :]).abs()
        scores = torch.addcmul(scores, slope[..., None], distance, value=-1)     # one pass over a large tensor
        scores.diagonal(dim1=-2, dim2=-1).fill_(self.SELF_SCORE)

        attended = content @ scores.softmax(-1).transpose(2, 3)                  # [B, heads, C / heads, query]
        return x + self.proj(attended.reshape(batch, channels, steps))
