"""Matrix products for separation on a CPU, through the kernels of convolutions.

torch multiplies matrices with MKL, which on processors that are not Intel's does not use the widest instructions, and
convolves with oneDNN, which does: on two cores of an AMD EPYC (Zen 5) a product of the transformer's size runs at 220
and at 480 GFLOP/s. A matrix product is a 1x1 convolution.
"""

import typing as tp

import torch
from torch import nn
from torch.nn import functional as F

from ...dsp.eager import eager_on_cpu

SCORES = 6 * 2 ** 20       # bytes of attention scores at a time, which should stay in the cache
SMALL = 20480              # values of a factor up to which torch convolves by MKL, too
# Nor does a single thread get oneDNN for a 1x1 convolution, unless it is dilated, which does not matter to it: 89 and
# 233 GFLOP/s.
DILATED = 2


def linear(x: torch.Tensor, weight: torch.Tensor, bias: tp.Optional[torch.Tensor] = None) -> torch.Tensor:
    """`F.linear`: [..., N, C] with weight [D, C] -> [..., N, D]."""
    if not _faster(x) or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return F.linear(x, weight, bias)
    rows = x.shape[:-1].numel()
    # [1, C, 1, N] with channels last in memory, which is what the convolution looks at.
    y = F.conv2d(x.reshape(1, 1, rows, -1).permute(0, 3, 1, 2), weight[:, :, None, None], bias, dilation=DILATED)
    return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


class Linear(nn.Linear):
    """`nn.Linear` through `linear`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return linear(x, self.weight, self.bias)


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """`F.scaled_dot_product_attention`: [B, heads, N, D], [B, heads, M, D], [B, heads, M, D] -> [B, heads, N, D].

    Plain softmax over all keys, for some queries at a time: 1.4 times as fast as torch's blocks of keys. Always in
    float32, which scores need; torch's own in bfloat16 is slower still.
    """
    if not _faster(query) or query.dtype not in (torch.float32, torch.bfloat16):
        return F.scaled_dot_product_attention(query, key, value)
    batch, heads, steps, size = query.shape
    with torch.autocast("cpu", enabled=False):
        out = torch.empty_like(query, dtype=torch.float32, memory_format=torch.contiguous_format)
        key, value = (key.float() * size ** -0.5).contiguous(), value.float().transpose(2, 3).contiguous()
        step = max(SMALL // size + 1, SCORES // (4 * key.shape[2]))
        for b in range(batch):
            for head in range(heads):
                for start in range(0, steps, step):
                    asking = query[b, head, start:start + step].float()
                    weights = linear(asking, key[b, head]).softmax(-1)
                    out[b, head, start:start + step] = linear(weights, value[b, head])
    return out.to(query.dtype)


def _faster(x: torch.Tensor) -> bool:
    """Whether the kernels of convolutions are worth it."""
    return eager_on_cpu(x) and x.numel() > SMALL and torch.backends.mkldnn.is_available()
