"""Local attention over time (Défossez 2021, "Hybrid Spectrogram and Waveform Source Separation", section 3.3)."""

import torch
from torch import nn

from ..dsp.eager import eager_on_cpu

SCORES = 6 * 2 ** 20       # bytes of attention scores per block of queries on a CPU


class LocalAttention(nn.Module):
    """Residual multi-head attention over time without positional encoding: [B, C, T] -> [B, C, T].

    Attention scores are penalised in proportion to the distance in time. The rate depends on the query, as the weighted
    sum of `ndecay` controls in (0, 1/2), predicted by the network, with weights 1..ndecay divided by sqrt(ndecay). A
    time step never attends to itself (unless it is the only one), since the residual connection already carries it.

    Raises ValueError if `heads` does not divide `channels` (C).
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
        # Start with small decay rates, that is with a wide attention span: sigmoid(-2) is 0.12.
        self.query_decay.weight.data *= 0.01
        self.query_decay.bias.data[:] = -2
        self.proj = nn.Conv1d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, channels, steps = x.shape
        split = (batch, self.heads, -1, steps)
        query, key, content = (conv(x).view(split) for conv in (self.query, self.key, self.content))
        query = (query / key.shape[2] ** 0.5).transpose(2, 3)                    # [B, heads, query, C / heads]

        # The published sum over decays of -k * |distance| * rate_k is linear in the distance: one slope per query.
        rates = self.query_decay(x).view(split).sigmoid() / 2                    # [B, heads, ndecay, query]
        gains = torch.arange(1, self.ndecay + 1, device=x.device, dtype=x.dtype) / self.ndecay ** 0.5
        slope = (rates * gains[:, None]).sum(2)[..., None]                     # [B, heads, query, 1]
        time = torch.arange(steps, device=x.device, dtype=torch.promote_types(x.dtype, torch.float32))

        blocks = []
        step = self._queries_per_block(x)
        for start in range(0, steps, step):
            span = slice(start, start + step)
            scores = (query[:, :, span] @ key).to(time.dtype)                    # [B, heads, query, key]
            distance = (time[span, None] - time).abs()
            scores.addcmul_(slope[:, :, span], distance, value=-1)               # in place: the tensor is large
            scores.diagonal(start, -2, -1).fill_(self.SELF_SCORE)
            weights = scores.softmax(-1).to(content.dtype)
            blocks.append(content @ weights.transpose(2, 3))                     # [B, heads, C / heads, query]
        return x + self.proj(torch.cat(blocks, dim=-1).view(x.shape))

    def _queries_per_block(self, x: torch.Tensor) -> int:
        """Number of queries processed together: all; or for inference on a CPU, as many as have scores that fit in the
        cache, which is faster (`benchmarks/bench_layers.py`) and takes less memory."""
        if not eager_on_cpu(x):
            return x.shape[2]
        return max(1, SCORES // (x.element_size() * len(x) * self.heads * x.shape[2]))
