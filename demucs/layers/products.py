"""Matrix products for separation on a CPU, through the kernels of convolutions.

torch multiplies matrices with MKL, which on processors that are not Intel's does not use the widest instructions, and
convolves with oneDNN, which does: on two cores of an AMD EPYC (Zen 5) a product of the transformer's size runs at 220
and at 480 GFLOP/s. A matrix product is a 1x1 convolution.
"""

import typing as tp

import torch
from torch import nn
from torch.nn import functional as F

SCORES = 6 * 2 ** 20       # bytes of attention scores at a time, which should stay in the cache
SMALL = 20480              # values of a factor up to which torch convolves by MKL, too


def linear(x: torch.Tensor, weight: torch.Tensor, bias: tp.Optional[torch.Tensor] = None) -> torch.Tensor:
    """`F.linear`: [..., N, C] with weight [D, C] -> [..., N, D]."""
    if not _faster(x):
        return F.linear(x, weight, bias)
    rows = x.shape[:-1].numel()
    # [1, C, 1, N] with channels last in memory, which is what the convolution looks at.
    y = F.conv2d(x.reshape(1, 1, rows, -1).permute(0, 3, 1, 2), weight[:, :, None, None], bias)
    return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


class Linear(nn.Linear):
    """`nn.Linear` through `linear`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return linear(x, self.weight, self.bias)


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """`F.scaled_dot_product_attention`: [B, heads, N, D], [B, heads, M, D], [B, heads, M, D] -> [B, heads, N, D].

    Plain softmax over all keys, for some queries at a time: 1.6 times as fast as torch's blocks of keys.
    """
    if not _faster(query):
        return F.scaled_dot_product_attention(query, key, value)
    batch, heads, steps, size = query.shape
    key, value = (key * size ** -0.5).contiguous(), value.transpose(2, 3).contiguous()
    out = torch.empty_like(query, memory_format=torch.contiguous_format)
    piece = max(SMALL // size + 1, SCORES // (4 * key.shape[2]))
    for b in range(batch):
        for head in range(heads):
            for start in range(0, steps, piece):
                weights = linear(query[b, head, start:start + piece], key[b, head]).softmax(-1)
                out[b, head, start:start + piece] = linear(weights, value[b, head])
    return out


def _faster(x: torch.Tensor) -> bool:
    """Whether the kernels of convolutions are worth it. A single thread convolves by MKL, too."""
    return (not torch.is_grad_enabled() and x.device.type == "cpu" and x.dtype == torch.float32 and x.numel() > SMALL
            and torch.backends.mkldnn.is_available() and torch.get_num_threads() > 1
            and not torch.is_autocast_enabled("cpu")
            and not (torch.jit.is_tracing() or torch.compiler.is_compiling()))
