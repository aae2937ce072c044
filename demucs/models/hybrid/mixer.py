"""Mixers of a hybrid model: modules in the bottleneck or between levels that map the states of all branches to new
states.

The children of a mixer are registered as children of the model itself, under the same names, as in the names of
published weights. So a model builds its mixers last, from factories.
"""

import dataclasses
import typing as tp

import torch
from torch import nn

from ...layers.transformer import CrossTransformer, TransformerSpec

States = tp.Tuple[torch.Tensor, ...]


class SkipsOnly(nn.Module):
    """Mixer in the bottleneck of HDemucs: it returns zeros for every state, so the input of the decoders is zero, and
    all information passes through the skip connections."""

    draws_in_training = False

    def forward(self, *states: torch.Tensor) -> States:
        return tuple(map(torch.zeros_like, states))


class PassedOn(nn.Module):
    """Mixer that returns the states unchanged: the input of the decoders is the output of the encoders, as in HTDemucs
    without transformer layers.

    `unused` are modules by name that published models have without using them; they are registered, without gradients,
    for the names of weights.
    """

    draws_in_training = False

    def __init__(self, unused: tp.Mapping[str, nn.Module]):
        super().__init__()
        for name, module in unused.items():
            self.add_module(name, module.requires_grad_(False))

    def forward(self, *states: torch.Tensor) -> States:
        return states


class CrossDomain(nn.Module):
    """Mixer in the bottleneck of HTDemucs: a transformer across both branches (Rouard et al. 2022). It maps the states
    of the frequency branch [B, C, F, T] and the time branch [B, C, T'] to new ones of the same shapes.

    `resize` are 1x1 convolutions by name, before and after a transformer with another number of channels; empty if it
    has the same.
    """

    def __init__(self, resize: tp.Mapping[str, nn.Module], transformer: CrossTransformer):
        super().__init__()
        for name, module in resize.items():
            self.add_module(name, module)
        self.resized = bool(resize)
        self.crosstransformer = transformer

    @property
    def draws_in_training(self) -> bool:
        """Whether the transformer draws random numbers in training."""
        return self.crosstransformer.draws_in_training

    def forward(self, spectral: torch.Tensor, temporal: torch.Tensor) -> States:
        if not self.resized:
            return self.crosstransformer(spectral, temporal)
        bins = spectral.shape[2]
        wide = self.channel_upsampler(spectral.flatten(2)).unflatten(2, (bins, -1))
        wide, wide_t = self.crosstransformer(wide, self.channel_upsampler_t(temporal))
        narrow = self.channel_downsampler(wide.flatten(2)).unflatten(2, (bins, -1))
        return narrow, self.channel_downsampler_t(wide_t)


class Gated(nn.Module):
    """Mixer with a learned gate per branch: a T(x) + (1 - a) x, where a is the sigmoid of a scalar initialised to 0.

    Args:
        mixer: the mixer T.
        names: names of the scalars, one per branch.
    """

    def __init__(self, mixer: nn.Module, names: tp.Sequence[str]):
        super().__init__()
        self._mixer = (mixer,)                   # a tuple hides it from torch: its children are registered here instead
        for name, part in mixer.named_children():
            self.add_module(name, part)
        self.gates = tuple(names)
        for name in names:
            self.register_parameter(name, nn.Parameter(torch.zeros(())))

    @property
    def draws_in_training(self) -> bool:
        """Whether the mixer T draws random numbers in training."""
        return self._mixer[0].draws_in_training

    def forward(self, *states: torch.Tensor) -> States:
        gates = (torch.sigmoid(getattr(self, name)) for name in self.gates)
        return tuple(gate * mixed + (1 - gate) * state
                     for gate, mixed, state in zip(gates, self._mixer[0](*states), states, strict=True))


def cross_domain(channels: int, *, bottom: int, spec: TransformerSpec, gates: tp.Sequence[str] = ()) -> nn.Module:
    """New mixer of an HTDemucs whose encoders have `channels` output channels, with a transformer of `bottom` channels
    (0: of `channels`) and the settings `spec`, whose own number of channels is ignored. With `gates`, the names of two
    scalars, a learnt gate per branch follows it. Without transformer layers it returns its input.

    Raises:
        ValueError: if the settings of the transformer are inconsistent.
    """
    resize: tp.Dict[str, nn.Module] = {}
    if bottom:
        for branch in ("", "_t"):
            resize["channel_upsampler" + branch] = nn.Conv1d(channels, bottom, 1)
            resize["channel_downsampler" + branch] = nn.Conv1d(bottom, channels, 1)
    if not spec.layers:
        return PassedOn(resize)
    mixer = CrossDomain(resize, CrossTransformer(dataclasses.replace(spec, channels=bottom or channels)))
    return Gated(mixer, gates) if gates else mixer
