"""Frequency blocks with separate weights per band: `multi_freqs` of the published configuration.

Convolutions over frequency assume equal statistics at all frequencies. Here the frequency axis is split at given
fractions, and each band has its own copy of the block. The split points are multiples of the stride and the bands
overlap by the kernel, so that with equal weights in all copies the output equals that of a single block over the whole
axis.
"""

import copy
import typing as tp

import torch
from torch import nn
from torch.nn import functional as F

from .blocks import DecoderBlock, EncoderBlock


def _redrawn(template: nn.Module) -> nn.Module:
    """Copy of a block with new random initial weights, drawn in the order of `modules()`."""
    block = copy.deepcopy(template)
    for module in block.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return block


class _BandSplit(nn.Module):
    def __init__(self, template: nn.Module):
        super().__init__()
        spec = template.spec
        assert spec.bands and spec.axis == "frequency" and spec.padding and not spec.norm_groups, spec
        self.spec = spec
        self.layers = nn.ModuleList(_redrawn(template) for _ in range(len(spec.bands) + 1))


class BandSplitEncoder(_BandSplit):
    """Copies of an `EncoderBlock` over frequency, one per band, with weights of their own: [B, outer, F, T] -> [B,
    inner, F / stride, T].

    `template` is the block to copy, whose settings have the split points; its weights are not used.
    """

    def __init__(self, template: EncoderBlock):
        super().__init__(template)
        for layer in self.layers:
            layer.conv.padding = (0, 0)          # only both ends of the whole axis are padded, in forward

    def forward(self, x: torch.Tensor, inject: None = None) -> torch.Tensor:
        assert inject is None, "branches do not meet inside split bands"
        kernel, stride, padding = self.spec.kernel, self.spec.stride, self.spec.padding
        bins = x.shape[2]
        x = F.pad(x, (0, 0, padding, padding))
        starts = [0]
        for ratio in self.spec.bands:
            # Positions in the padded axis. A band ends with the last whole kernel before its split point.
            reach = round(bins * ratio) + padding - starts[-1]
            rows = round((reach - kernel) / stride + 1)
            starts.append(starts[-1] + rows * stride)
        ends = [start - stride + kernel for start in starts[1:]] + [x.shape[2]]
        return torch.cat([layer(x[:, :, start:end]) for layer, start, end in zip(self.layers, starts, ends)], dim=2)


class BandSplitDecoder(_BandSplit):
    """Copies of a `DecoderBlock` over frequency, one per band, with weights of their own: [B, inner, F, T] -> [B,
    outer, F * stride, T].

    `template` is the block to copy, whose settings have the split points; its weights are not used.
    """

    def __init__(self, template: DecoderBlock):
        super().__init__(template)
        self.last = template.last

    def forward(self, x: torch.Tensor, skip: torch.Tensor, length: int) -> tp.Tuple[torch.Tensor, None]:
        stride, padding = self.spec.stride, self.spec.padding
        cuts = [0] + [round(x.shape[2] * ratio) for ratio in self.spec.bands] + [x.shape[2]]
        whole: tp.Optional[torch.Tensor] = None
        for layer, start, end in zip(self.layers, cuts, cuts[1:]):
            band, _ = layer.expand(x[:, :, start:end], skip[:, :, start:end])
            if whole is None:
                whole = band
                continue
            # Neighbouring bands overlap by kernel - stride rows, to which both have added the bias.
            overlap = self.spec.kernel - stride
            seam = whole[:, :, -overlap:] + band[:, :, :overlap] - layer.conv_tr.bias[:, None, None]
            whole = torch.cat([whole[:, :, :-overlap], seam, band[:, :, overlap:]], dim=2)
        whole = whole[:, :, padding:-padding]
        return (whole if self.last else F.gelu(whole)), None
