"""Encoder and decoder blocks of Demucs, over time or over frequency.

An encoder block is a strided convolution, normalisation, GELU, residual branch, and 1x1 convolution with GLU. A decoder
block has the same parts in reverse order. A block over frequency processes [B, C, F, T] and convolves along F; a block
over time processes [B, C, T].
(Défossez et al. 2019, "Music Source Separation in the Waveform Domain"; Défossez 2021 for the two axes.)
"""

import dataclasses
import typing as tp

import torch
from torch import nn
from torch.nn import functional as F

from .cpu import piecewise
from .dconv import DConv, DConvSpec


@dataclasses.dataclass(frozen=True)
class LayerSpec:
    """Settings of one level, shared by its encoder block and its decoder block.

    `outer` is the number of channels on the side of the signal, `inner` that on the side of the bottleneck. With
    `merge` the block is a plain convolution, which brings the time branch to the shape of the frequency branch at the
    level where the branches merge.
    """
    outer: int
    inner: int
    kernel: int
    stride: int
    axis: str                                   # "time" or "frequency"
    padding: int                                # samples or bins at each end
    norm_groups: int = 0                        # 0: no normalisation
    rewrite: bool = True
    merge: bool = False
    bands: tp.Tuple[float, ...] = ()            # split points for BandSplit, as fractions of the frequency axis


def _norm(groups: int, channels: int) -> nn.Module:
    return nn.GroupNorm(groups, channels) if groups else nn.Identity()


def _along_time(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Apply a module for [B, C, T] to each frequency of [B, C, F, T] independently (or to [B, C, T] directly)."""
    if x.dim() == 3:
        return module(x)
    batch, channels, bins, frames = x.shape
    y = module(x.permute(0, 2, 1, 3).reshape(-1, channels, frames))
    return y.view(batch, bins, channels, frames).permute(0, 2, 1, 3)


class EncoderBlock(nn.Module):
    """Encoder block: [B, outer, F, T] -> [B, inner, F / stride, T], or [B, outer, T] -> [B, inner, T / stride].

    Args:
        spec: settings of the level.
        context: half width of the rewrite convolution (0: kernel size 1).
        dconv: settings of the residual branch; None: without.
    """

    def __init__(self, spec: LayerSpec, *, context: int, dconv: tp.Optional[DConvSpec]):
        super().__init__()
        self.spec = spec
        frequency = spec.axis == "frequency"
        conv = nn.Conv2d if frequency else nn.Conv1d
        shape = ((spec.kernel, 1), (spec.stride, 1), (spec.padding, 0)) if frequency else \
            (spec.kernel, spec.stride, spec.padding)
        self.conv = conv(spec.outer, spec.inner, *shape)
        if spec.merge:
            return
        self.norm1 = _norm(spec.norm_groups, spec.inner)
        self.rewrite = None
        if spec.rewrite:
            self.rewrite = conv(spec.inner, 2 * spec.inner, 1 + 2 * context, 1, context)
            self.norm2 = _norm(spec.norm_groups, 2 * spec.inner)
        self.dconv = DConv(spec.inner, dconv) if dconv else None

    def forward(self, x: torch.Tensor, inject: tp.Optional[torch.Tensor] = None) -> torch.Tensor:
        """Output of the block for `x`. `inject` [B, inner, T] is the output of the time branch's encoder, which is
        added after the strided convolution at the level where the two branches merge; None elsewhere."""
        if self.spec.axis == "time" and x.dim() == 4:
            x = x.flatten(1, 2)                  # the level after the merge: a single frequency bin
        if inject is None and piecewise.can_encode(self, x):
            return piecewise.encode(self, x)
        if self.spec.axis == "time":
            x = F.pad(x, (0, -x.shape[-1] % self.spec.stride))
        y = self.conv(x)
        if self.spec.merge:
            return y
        if inject is not None:
            y = y + (inject[:, :, None] if y.dim() == 4 else inject)
        y = F.gelu(self.norm1(y))
        if self.dconv is not None:
            y = _along_time(self.dconv, y)
        if self.rewrite is not None:
            y = F.glu(self.norm2(self.rewrite(y)), dim=1)
        return y


class DecoderBlock(nn.Module):
    """Decoder block, the mirror image of `EncoderBlock`: [B, inner, F, T] -> [B, outer, F * stride, T], or over time.
    The outermost one (`last`) has no activation.

    Args:
        spec: settings of the level.
        context: half width of the rewrite convolution (0: kernel size 1).
        dconv: settings of the residual branch; None: without.
        last: whether this is the outermost block.
        context_over_frequency: whether a rewrite convolution over frequency is also as wide along frequency; otherwise
            only along time.
    """

    def __init__(self, spec: LayerSpec, *, context: int, dconv: tp.Optional[DConvSpec], last: bool,
                 context_over_frequency: bool = True):
        super().__init__()
        self.spec = spec
        self.last = last
        frequency = spec.axis == "frequency"
        conv, transposed = (nn.Conv2d, nn.ConvTranspose2d) if frequency else (nn.Conv1d, nn.ConvTranspose1d)
        shape = ((spec.kernel, 1), (spec.stride, 1)) if frequency else (spec.kernel, spec.stride)
        self.conv_tr = transposed(spec.inner, spec.outer, *shape)
        self.norm2 = _norm(spec.norm_groups, spec.outer)
        if spec.merge:
            return
        self.rewrite = None
        if spec.rewrite:
            size: tp.Any = (1 + 2 * context, context)
            if not context_over_frequency:
                size = ((1, 1 + 2 * context), (0, context))
            self.rewrite = conv(spec.inner, 2 * spec.inner, size[0], 1, size[1])
            self.norm1 = _norm(spec.norm_groups, 2 * spec.inner)
        self.dconv = DConv(spec.inner, dconv) if dconv else None

    def expand(self, x: torch.Tensor, skip: tp.Optional[torch.Tensor]
               ) -> tp.Tuple[torch.Tensor, tp.Optional[torch.Tensor]]:
        """(output of the normalised transposed convolution before its padding is removed, its input) for `x` and the
        output `skip` of the encoder. The input is only needed, and may be None otherwise, if there is a single
        frequency bin."""
        if piecewise.can_decode(self, x):
            return piecewise.decode(self, x, skip, first=0, length=self._reach(x), activate=False), None
        if self.spec.axis == "frequency" and x.dim() == 3:
            x = x.view(x.shape[0], self.spec.inner, -1, x.shape[-1])   # the level of the merge: a single frequency bin
        if not self.spec.merge:
            x = x + skip
            if self.rewrite is not None:
                x = F.glu(self.norm1(self.rewrite(x)), dim=1)
            if self.dconv is not None:
                x = _along_time(self.dconv, x)
        return self.norm2(self.conv_tr(x)), x

    def forward(self, x: torch.Tensor, skip: tp.Optional[torch.Tensor], length: int
                ) -> tp.Tuple[torch.Tensor, tp.Optional[torch.Tensor]]:
        """(output of the block, cut to `length` along time for a block over time; input of its transposed convolution)
        for `x` and the output `skip` of the encoder (None with `merge`). The input is where the time branch continues
        at a single frequency bin, and may be None otherwise."""
        padding = self.spec.padding
        if piecewise.can_decode(self, x):
            inner = length if self.spec.axis == "time" else self._reach(x) - 2 * padding
            return piecewise.decode(self, x, skip, first=padding, length=inner, activate=not self.last), None
        y, before = self.expand(x, skip)
        if self.spec.axis == "time":
            y = y[..., padding:padding + length]
        elif padding:
            y = y[..., padding:-padding, :]
        return (y if self.last else F.gelu(y)), before

    def _reach(self, x: torch.Tensor) -> int:
        """Length of the transposed convolution's output along its axis."""
        return (x.shape[2] - 1) * self.spec.stride + self.spec.kernel
