"""What happens between the blocks of a hybrid model, at the bottom or elsewhere: states of branches in, states out.

A mixer's parts become children of the net itself, under the mixer's names for them: that is how published weights are
named. So a net builds its mixer last, from a factory.
"""

import dataclasses
import typing as tp

import torch
from torch import nn

from ...layers.transformer import CrossTransformer, TransformerSpec

States = tp.Tuple[torch.Tensor, ...]


class SkipsOnly(nn.Module):
    """HDemucs: the decoders start from zeros, and everything comes up through the skip connections."""

    draws_in_training = False

    def forward(self, *states: torch.Tensor) -> States:
        return tuple(map(torch.zeros_like, states))


class PassedOn(nn.Module):
    """The decoders start from what the encoders end with: HTDemucs without layers in its transformer.

    `unused` are modules that published models have there all the same.
    """

    draws_in_training = False

    def __init__(self, unused: tp.Mapping[str, nn.Module]):
        super().__init__()
        for name, module in unused.items():
            self.add_module(name, module.requires_grad_(False))

    def forward(self, *states: torch.Tensor) -> States:
        return states


class CrossDomain(nn.Module):
    """HTDemucs: a transformer across both branches, in `bottom` channels where that is not 0 (Rouard et al. 2022)."""

    def __init__(self, resize: tp.Mapping[str, nn.Module], transformer: CrossTransformer):
        super().__init__()
        for name, module in resize.items():
            self.add_module(name, module)
        self.resized = bool(resize)
        self.crosstransformer = transformer

    @property
    def draws_in_training(self) -> bool:
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
    """A mixer behind a learnt gate per branch: a T(x) + (1 - a) x, where a is the sigmoid of a scalar that starts at 0.

    Args:
        mixer: T.
        names: of the scalars, one per branch that it is called with.
    """

    def __init__(self, mixer: nn.Module, names: tp.Sequence[str]):
        super().__init__()
        self._mixer = (mixer,)                   # its parts stand here under their own names
        for name, part in mixer.named_children():
            self.add_module(name, part)
        self.gates = tuple(names)
        for name in names:
            self.register_parameter(name, nn.Parameter(torch.zeros(())))

    @property
    def draws_in_training(self) -> bool:
        return self._mixer[0].draws_in_training

    def forward(self, *states: torch.Tensor) -> States:
        gates = (torch.sigmoid(getattr(self, name)) for name in self.gates)
        return tuple(gate * mixed + (1 - gate) * state
                     for gate, mixed, state in zip(gates, self._mixer[0](*states), states, strict=True))


def cross_domain(channels: int, *, bottom: int, spec: TransformerSpec, gates: tp.Sequence[str] = ()) -> nn.Module:
    """The mixer of an HTDemucs whose towers end with `channels`; `spec.channels` does not matter. With `gates`, the names of
    two scalars, it stands behind a learnt gate per branch.

    Raises:
        ValueError: where the numbers of the transformer do not fit together.
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
