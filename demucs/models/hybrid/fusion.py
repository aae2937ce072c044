"""Combination of the waveform estimates of several branches."""

import typing as tp

import torch
from torch import nn
from torch.nn import functional as F

from ...layers.cpu.toeplitz import convolved
from ...layers.initial import rescale_convolutions
from .part import Part, SoftmaxWeights


class Fusion(Part):
    """Base class of modules that combine the estimates of all branches, {name of branch: [B, S, A, L]}, to one [B, S,
    A, L].

    With `at_unit_level` the model divides the estimates by the standard deviation of the mixture before the fusion, and
    multiplies the result by it. Then silence stays silence and the result scales with the input, even if the fusion
    adds an offset or is not linear. With `published_names` its parameters belong to the model itself.
    """

    at_unit_level = False
    published_names = False

    def forward(self, estimates: tp.Mapping[str, torch.Tensor]) -> torch.Tensor:
        raise NotImplementedError


class Sum(Fusion):
    """Fusion by the sum of the estimates of all branches."""

    def forward(self, estimates: tp.Mapping[str, torch.Tensor]) -> torch.Tensor:
        first, *rest = estimates.values()
        for estimate in rest:
            first = first + estimate
        return first


class ResolutionFusion(Fusion):
    """Base class of modules that combine the estimates of branches with spectrograms of different resolutions by
    `combined`, and add the estimates of all other branches.

    Args:
        names: names of the branches to combine, in their order.
        rest: whether the others are added; False discards them.
    """

    published_names = True

    def __init__(self, names: tp.Sequence[str], *, rest: bool = True):
        super().__init__()
        self.names = tuple(names)
        self.rest = rest

    def combined(self, estimates: tp.Sequence[torch.Tensor]) -> torch.Tensor:
        """Combination [B, S, A, L] of as many estimates of this shape as there are `names`."""
        raise NotImplementedError

    def forward(self, estimates: tp.Mapping[str, torch.Tensor]) -> torch.Tensor:
        total = self.combined([estimates[name] for name in self.names])
        for name, estimate in estimates.items():
            if name not in self.names and self.rest:
                total = total + estimate
        return total


class WeightedFusion(ResolutionFusion):
    """Fusion by softmax weights of the R resolutions, [S, R] for each source if `per_source`, otherwise [R]; see
    `SoftmaxWeights`."""

    def __init__(self, names: tp.Sequence[str], *, sources: int, per_source: bool):
        super().__init__(names)
        shape = (sources, len(names)) if per_source else (len(names),)
        self.softmax = SoftmaxWeights(self, shape, parameter="final_fusion_weights", average="final_weight_ema")

    def combined(self, estimates: tp.Sequence[torch.Tensor]) -> torch.Tensor:
        weights = self.softmax()                         # [S, R] or [R]
        parts = [weight[..., None, None] * estimate for weight, estimate in zip(weights.unbind(-1), estimates)]
        return tp.cast(torch.Tensor, sum(parts))

    def softmax_weights(self) -> tp.Dict[str, torch.Tensor]:
        return {self.softmax.parameter: self.softmax.present}

    def after_step(self) -> None:
        self.softmax.update()


class ConvolutionFusion(ResolutionFusion):
    """Fusion by a convolution over resolutions and time, with a kernel of [resolutions, `width`] samples. The channels
    of a source are mixed with each other only.

    It starts as the mean over resolutions and has no bias, so that silence stays silence. With `as_published` it has a
    bias, and random initial weights, rescaled to the standard deviation `rescale` (0: not).
    """

    def __init__(self, names: tp.Sequence[str], *, sources: int, audio_channels: int, width: int,
                 as_published: bool = False, rescale: float = 0.):
        super().__init__(names)
        channels = sources * audio_channels
        self.fusion_conv = nn.Conv2d(channels, channels, (len(names), width), padding=(0, width // 2), groups=sources,
                                     bias=as_published)
        if not as_published:
            start_as_mean(self.fusion_conv)
        elif rescale:
            rescale_convolutions(self, rescale)

    def combined(self, estimates: tp.Sequence[torch.Tensor]) -> torch.Tensor:
        planes = torch.stack(list(estimates), dim=3)                     # [B, S, A, R, L]
        return convolved(self.fusion_conv, planes.flatten(1, 2)).unflatten(1, planes.shape[1:3])


class UNetFusion(ResolutionFusion):
    """Fusion by a small U-Net over time, without downsampling, whose first convolution is over all resolutions.

    Its output is added to the mean over resolutions, and it is small at first. It has no biases, so that silence stays
    silence. As its activations are not linear, it is computed at unit level.

    Args:
        names: see `ResolutionFusion`.
        sources, audio_channels: numbers of sources and of channels of each.
        channels, depth, width: channels of the first level, which double from level to level; number of levels; kernel
            size in samples.
        as_published: None, or "gelu" or "linear" for the two published forms. They have biases and no connection around
            the U-Net, discard the branches without a spectrogram, and add the innermost encoder's output to itself. The
            first has an activation after every convolution, also the last, the second has none.
    """

    def __init__(self, names: tp.Sequence[str], *, sources: int, audio_channels: int, channels: int, depth: int,
                 width: int, as_published: tp.Optional[str] = None, rescale: float = 0.):
        super().__init__(names, rest=as_published is None)
        self.at_unit_level = as_published is None
        self.fusion_unet = _TimeUNet(sources * audio_channels, resolutions=len(names), channels=channels, depth=depth,
                                     width=width, as_published=as_published)
        if as_published is not None and rescale:
            rescale_convolutions(self, rescale)

    def combined(self, estimates: tp.Sequence[torch.Tensor]) -> torch.Tensor:
        planes = torch.stack(list(estimates), dim=3)                     # [B, S, A, R, L]
        fused = self.fusion_unet(planes.flatten(1, 2)).unflatten(1, planes.shape[1:3])
        return fused + planes.mean(3) if self.rest else fused


class _TimeUNet(nn.Module):
    """U-Net of `UNetFusion`: [B, C, R, L] -> [B, C, L]."""

    SMALL = 0.01      # factor of the initial weights of the last convolution

    def __init__(self, outer: int, *, resolutions: int, channels: int, depth: int, width: int,
                 as_published: tp.Optional[str]):
        super().__init__()
        self.as_published = as_published
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        common: tp.Dict[str, tp.Any] = {"padding": (0, width // 2), "bias": as_published is not None}
        for index in range(depth):
            self.encoder.append(nn.Conv2d(outer, channels, (1 if index else resolutions, width), **common))
            self.decoder.insert(0, nn.Conv2d(channels, outer, (1, width), **common))
            outer, channels = channels, 2 * channels
        if as_published is None:
            with torch.no_grad():
                self.decoder[-1].weight *= self.SMALL

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        published = self.as_published is not None
        activate = (lambda y: y) if self.as_published == "linear" else F.gelu
        skips = []
        for encode in self.encoder:
            x = activate(encode(x))
            skips.append(x)
        for index, decode in enumerate(self.decoder):
            skip = skips.pop()
            x = decode(x + skip if index or published else x)
            if published or index < len(self.decoder) - 1:
                x = activate(x)
        return x[:, :, 0]


@torch.no_grad()
def start_as_mean(conv: nn.Conv2d) -> None:
    """Set the weights of a convolution over [resolutions, time] to the mean over resolutions at the centre of the
    kernel, of each channel alone. With groups, channel k of a group maps to channel k."""
    per_group = conv.weight.shape[1]
    channel = torch.arange(len(conv.weight))
    nn.init.zeros_(conv.weight)
    conv.weight[channel, channel % per_group, :, conv.weight.shape[-1] // 2] = 1 / conv.weight.shape[-2]
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
