"""Mixers of branches with spectrograms of different resolutions: they are combined to one at the resolution of the
branch in the middle, which another mixer processes, and distributed again. Branches without a spectrogram are passed to
that mixer as they are.
"""

import typing as tp

import torch
from torch import nn
from torch.nn import functional as F

from ...layers.initial import rescale_convolutions
from .fusion import start_as_mean
from .mixer import Around, Mixer, States
from .part import SoftmaxWeights


def _resized(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """`x` [B, C, F, T], interpolated to the frequencies and frames of `like`."""
    if x.shape[2:] == like.shape[2:]:
        return x
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


class _Resolutions(Around):
    """Base class of these mixers, around the mixer of the combination."""

    def combined(self, states: tp.Sequence[torch.Tensor]) -> torch.Tensor:
        """Combination [B, C, F, T] of states that have been interpolated to this shape."""
        raise NotImplementedError

    def distributed(self, mixed: torch.Tensor, states: tp.Sequence[torch.Tensor]) -> tp.Sequence[torch.Tensor]:
        """New states in the place of `states`, from the processed combination `mixed` [B, C, F, T]."""
        raise NotImplementedError

    def forward(self, *states: torch.Tensor) -> States:
        spectral = [state for state in states if state.dim() == 4]
        middle = spectral[len(spectral) // 2]
        x = self.combined([_resized(state, middle) for state in spectral])
        mixed, *others = self._mixer[0](x, *(state for state in states if state.dim() == 3))
        new = iter(self.distributed(mixed, spectral))
        rest = iter(others)
        return tuple(next(new if state.dim() == 4 else rest) for state in states)


class WeightedResolutions(_Resolutions):
    """Mixer whose combination is the sum of the R resolutions with softmax weights, `fusion_weights` [R]. The new state
    of a resolution with the weight w is w T(x) + (1 - w) x, where T(x) is the processed combination; see
    `SoftmaxWeights` for the weights in training."""

    def __init__(self, mixer: Mixer, resolutions: int):
        super().__init__(mixer)
        self.softmax = SoftmaxWeights(self, (resolutions,), parameter="fusion_weights", average="weight_ema")

    def combined(self, states: tp.Sequence[torch.Tensor]) -> torch.Tensor:
        return tp.cast(torch.Tensor, sum(weight * state for weight, state in zip(self.softmax(), states)))

    def distributed(self, mixed: torch.Tensor, states: tp.Sequence[torch.Tensor]) -> tp.Sequence[torch.Tensor]:
        return [weight * _resized(mixed, state) + (1 - weight) * state for weight, state in zip(self.softmax(), states)]

    def softmax_weights(self) -> tp.Dict[str, torch.Tensor]:
        return {self.softmax.parameter: self.softmax.present, **super().softmax_weights()}

    def after_step(self) -> None:
        self.softmax.update()


class ConvolvedResolutions(_Resolutions):
    """Mixer whose combination is a convolution over the R resolutions and `width` frames that mixes the frequencies of
    a channel. A transposed convolution distributes the processed combination to the resolutions, where it is added.

    Both start as the mean over resolutions and the copy to all of them. With `as_published` they have random initial
    weights, rescaled to the standard deviation `rescale` (0: not).

    Args:
        mixer: of the combination.
        resolutions, channels, bins: numbers of resolutions, and of channels and frequencies of the one in the middle.
        width, as_published, rescale: see above.
    """

    def __init__(self, mixer: Mixer, *, resolutions: int, channels: int, bins: int, width: int, as_published: bool,
                 rescale: float):
        super().__init__(mixer)
        settings: tp.Dict[str, tp.Any] = {"padding": (0, width // 2), "groups": channels}
        size = channels * bins
        self.pre_transformer_fusion = nn.Conv2d(size, size, (resolutions, width), **settings)
        self.post_transformer_split = nn.ConvTranspose2d(size, size, (resolutions, width), **settings)
        if not as_published:
            start_as_mean(self.pre_transformer_fusion)
            start_as_mean(self.post_transformer_split)
            self.post_transformer_split.weight.data *= resolutions
        elif rescale:
            rescale_convolutions(self, rescale)

    def combined(self, states: tp.Sequence[torch.Tensor]) -> torch.Tensor:
        planes = torch.stack(list(states), dim=3)                        # [B, C, F, R, T]
        return self.pre_transformer_fusion(planes.flatten(1, 2))[:, :, 0].unflatten(1, planes.shape[1:3])

    def distributed(self, mixed: torch.Tensor, states: tp.Sequence[torch.Tensor]) -> tp.Sequence[torch.Tensor]:
        split = self.post_transformer_split(mixed.flatten(1, 2)[:, :, None]).unflatten(1, mixed.shape[1:3])
        return [_resized(plane, state) + state for plane, state in zip(split.unbind(3), states)]
