"""Convolution of few channels with a long kernel over time as a product of matrices, for CPUs.

Convolutions of oneDNN are slow if a group has few channels: two channels fill no vector register. Here the signal is cut
into overlapping windows, one per block of outputs, and each is multiplied by the Toeplitz matrix of the kernel. A block
of T outputs takes (T + K - 1) / K times the multiply-adds of the convolution, for a kernel of K samples, at the speed of a
matrix product. `benchmarks/bench_layers.py` measures the gain, with gradients and without.
"""

import torch
from torch import nn
from torch.nn import functional as F

from ...dsp.eager import eager_on_cpu

BLOCK = 64          # outputs per window
FEW = 4             # largest number of input channels of a group
LONG = 64           # smallest length of the signal, in kernels: for shorter ones, building the matrix takes most of the time


def convolved(conv: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """Output [B, O, T'] of `conv`, whose kernel covers all R rows of `x` [B, C, R, T], without its axis of rows. The
    results of both implementations differ by rounding."""
    width = conv.kernel_size[1]
    supported = (conv.kernel_size[0] == x.shape[2] and not conv.padding[0] and conv.stride == conv.dilation == (1, 1)
                 and not conv._forward_hooks and not conv._forward_pre_hooks)
    if (not supported or not eager_on_cpu(x, gradients=True) or conv.weight.shape[1] > FEW
            or x.shape[-1] < LONG * width):
        return conv(x)[:, :, 0]
    batch, groups, window = len(x), conv.groups, BLOCK + width - 1
    before = conv.padding[1]
    length = x.shape[-1] + 2 * before - width + 1
    blocks = -(-length // BLOCK)
    padded = F.pad(x, (before, blocks * BLOCK + width - 1 - x.shape[-1] - before))
    windows = padded.unfold(-1, window, BLOCK).unflatten(1, (groups, -1))              # [B, G, C / G, R, blocks, window]
    rows = windows.permute(1, 0, 4, 2, 3, 5).reshape(groups, batch * blocks, -1)
    products = torch.bmm(rows, _matrices(conv.weight, groups))                         # [G, B blocks, O / G * BLOCK]
    out = products.unflatten(2, (-1, BLOCK)).unflatten(1, (batch, blocks))
    out = out.permute(1, 0, 3, 2, 4).reshape(batch, -1, blocks * BLOCK)[..., :length]
    return out if conv.bias is None else out + conv.bias[:, None]


def _matrices(weight: torch.Tensor, groups: int) -> torch.Tensor:
    """Toeplitz matrices [G, C / G * R * window, O / G * BLOCK] of `weight` [O, C / G, R, K]: in column t of a block, the
    kernel begins at row t."""
    size = weight.shape[-1] + BLOCK                    # one more than a window, so that each repetition moves on by one
    repeated = F.pad(weight, (0, BLOCK))[..., None, :].expand(*weight.shape[:-1], BLOCK, size).flatten(-2)
    columns = repeated[..., :BLOCK * (size - 1)].unflatten(-1, (BLOCK, size - 1)).unflatten(0, (groups, -1))
    return columns.permute(0, 2, 3, 5, 1, 4).flatten(4).flatten(1, 3)                  # from [G, O / G, C / G, R, BLOCK, window]
