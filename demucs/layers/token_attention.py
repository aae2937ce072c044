"""Attention between tokens [B, N, C]: dense, with a fixed sparsity pattern, and linear.

Names of parameters and the order in which initial weights are drawn are those of published Demucs. Softmax attention
goes through torch's `scaled_dot_product_attention`.
"""

import dataclasses
import typing as tp

import torch
from torch import nn
from torch.nn import functional as F

from .sparsity import attention_mask, check_kinds


@dataclasses.dataclass(frozen=True)
class MaskSpec:
    """Sparsity pattern of an attention layer; see `sparsity.attention_mask`. A call with numbers of queries and keys
    and a device gives the mask."""
    kinds: tp.Tuple[str, ...]
    window: int
    global_window: int
    sparsity: float
    seed: int

    def check(self) -> None:
        """Check that all `kinds` are known patterns of `sparsity`.

        Raises:
            ValueError: for the first that is not.
        """
        check_kinds(self.kinds)

    def __call__(self, queries: int, keys: int, device: torch.device) -> torch.Tensor:
        return attention_mask(queries, keys, **dataclasses.asdict(self)).to(device)


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, heads: int, dropout: float,
            mask: tp.Optional[torch.Tensor]) -> torch.Tensor:
    """Multi-head attention [B, N, C], [B, M, C], [B, M, C] -> [B, N, C]; zero for queries without any unmasked key."""
    split = [x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value)]
    attended = F.scaled_dot_product_attention(*split, attn_mask=mask, dropout_p=dropout)
    return attended.transpose(1, 2).flatten(2)


class DenseAttention(nn.MultiheadAttention):
    """Dense multi-head attention with the parameters and initialisation of `nn.MultiheadAttention`, but a forward pass
    that is faster on CPUs (`benchmarks/bench_layers.py`)."""

    def forward(self, query: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Attention of tokens `query` [B, N, C] to tokens `memory` [B, M, C], as keys and values: [B, N, C]."""
        channels = self.embed_dim
        if query is memory:
            parts = F.linear(query, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        else:
            key_value = F.linear(memory, self.in_proj_weight[channels:], self.in_proj_bias[channels:])
            parts = (F.linear(query, self.in_proj_weight[:channels], self.in_proj_bias[:channels]),
                     *key_value.chunk(2, dim=-1))
        attended = _attend(*parts, heads=self.num_heads, dropout=self.dropout if self.training else 0., mask=None)
        return self.out_proj(attended)


class MaskedAttention(nn.Module):
    """Multi-head attention with the fixed sparsity pattern `mask`, and the parameter names of published Demucs."""

    def __init__(self, channels: int, heads: int, *, dropout: float, mask: MaskSpec):
        super().__init__()
        self.heads = heads
        self.mask = mask
        self.q = nn.Linear(channels, channels)
        self.k = nn.Linear(channels, channels)
        self.v = nn.Linear(channels, channels)
        self.proj = nn.Linear(channels, channels)
        self.dropout = dropout

    def forward(self, query: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        """Attention of tokens `query` [B, N, C] to those tokens `memory` [B, M, C] that the mask admits: [B, N, C]."""
        dropout = self.dropout if self.training else 0.
        attended = _attend(self.q(query), self.k(memory), self.v(memory), heads=self.heads, dropout=dropout,
                           mask=self.mask(query.shape[1], memory.shape[1], query.device))
        return F.dropout(self.proj(attended), dropout)


class LinearAttention(nn.Module):
    """Multi-head linear attention with the kernel phi(q) phi(k), phi(x) = ELU(x) + 1 (Katharopoulos et al. 2020,
    arXiv:2006.16236), without scaling. The sum over keys and values is computed once for all queries."""

    EPSILON = 1e-6       # added to the sum of the weights

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(channels, channels)
        self.k = nn.Linear(channels, channels)
        self.v = nn.Linear(channels, channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, query: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        """Attention of tokens `query` [B, N, C] to tokens `memory` [B, M, C], as keys and values: [B, N, C]."""
        q, k, v = (layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
                   for layer, x in ((self.q, query), (self.k, memory), (self.v, memory)))
        q, k = F.elu(q) + 1, F.elu(k) + 1
        weights = q @ k.sum(dim=2)[..., None]                         # [B, heads, N, 1]
        attended = q @ (k.transpose(2, 3) @ v) / (weights + self.EPSILON)
        return self.proj(attended.transpose(1, 2).flatten(2))
