"""Mixers of a hybrid model: modules in the bottleneck or between levels that map the states of all branches to new
states.

The children of a mixer are children of the model itself, under the same names, as in the names of published weights. So
a model builds its mixers last, from factories.
"""

import dataclasses
import typing as tp

import torch
from torch import nn

from ...layers.transformer import CrossTransformer, SelfTransformer, TransformerSpec
from .part import Part

States = tp.Tuple[torch.Tensor, ...]


class Mixer(Part):
    """Base class of mixers: `forward` maps the states of all branches to as many new ones. `draws_in_training` says
    whether it draws random numbers in training."""

    draws_in_training = False


class SkipsOnly(Mixer):
    """Mixer in the bottleneck of HDemucs: it returns zeros for every state, so the input of the decoders is zero, and
    all information passes through the skip connections."""

    def forward(self, *states: torch.Tensor) -> States:
        return tuple(map(torch.zeros_like, states))


class PassedOn(Mixer):
    """Mixer that returns the states unchanged: the input of the decoders is the output of the encoders, as in HTDemucs
    without transformer layers.

    `unused` are modules by name that published models have without using them; they are registered, without gradients,
    for the names of weights.
    """

    def __init__(self, unused: tp.Mapping[str, nn.Module]):
        super().__init__()
        for name, module in unused.items():
            self.add_module(name, module.requires_grad_(False))

    def forward(self, *states: torch.Tensor) -> States:
        return states


class CrossDomain(Mixer):
    """Mixer with a transformer across a spectral and a temporal branch, as in the bottleneck of HTDemucs (Rouard et al.
    2022), or within one branch. It maps the states of the branches that the transformer takes, the first ones at its
    site, to new ones of the same shapes, and returns those of further branches unchanged.

    Args:
        resize: 1x1 convolutions by name, before and after a transformer with another number of channels; empty if it
            has the same.
        transformer: the transformer.
        name: name of the transformer in the model.
    """

    def __init__(self, resize: tp.Mapping[str, nn.Module], transformer: tp.Union[CrossTransformer, SelfTransformer],
                 name: str = "crosstransformer"):
        super().__init__()
        for key, module in resize.items():
            self.add_module(key, module)
        self.resized = bool(resize)
        self.add_module(name, transformer)
        self.name = name

    @property
    def draws_in_training(self) -> bool:             # type: ignore[override]
        """Whether the transformer draws random numbers in training."""
        return getattr(self, self.name).draws_in_training

    def forward(self, *states: torch.Tensor) -> States:
        transformer = getattr(self, self.name)
        if isinstance(transformer, SelfTransformer):
            return (self._narrow(transformer(self._wide(states[0], "")), ""), *states[1:])
        spectral, temporal, *rest = states
        x, xt = transformer(self._wide(spectral, ""), self._wide(temporal, "_t"))
        return (self._narrow(x, ""), self._narrow(xt, "_t"), *rest)

    def _wide(self, x: torch.Tensor, branch: str) -> torch.Tensor:
        return self._convolved(x, "channel_upsampler" + branch)

    def _narrow(self, x: torch.Tensor, branch: str) -> torch.Tensor:
        return self._convolved(x, "channel_downsampler" + branch)

    def _convolved(self, x: torch.Tensor, name: str) -> torch.Tensor:
        """`x` after the 1x1 convolution `name` of all its positions, if there is one."""
        return getattr(self, name)(x.flatten(2)).unflatten(2, x.shape[2:]) if self.resized else x


class Around(Mixer):
    """Base class of mixers around another one, `mixer`, whose parameters are registered after their own."""

    def __init__(self, mixer: Mixer):
        super().__init__()
        self._mixer = (mixer,)                   # a tuple hides it from torch: its children are those of the model

    def give_to(self, model: nn.Module) -> None:
        super().give_to(model)
        self._mixer[0].give_to(model)

    @property
    def draws_in_training(self) -> bool:             # type: ignore[override]
        """Whether the inner mixer draws random numbers in training."""
        return self._mixer[0].draws_in_training

    def softmax_weights(self) -> tp.Dict[str, torch.Tensor]:
        return self._mixer[0].softmax_weights()

    def gate_values(self) -> tp.Dict[str, float]:
        return self._mixer[0].gate_values()


class Gated(Around):
    """Mixer with a learned gate per branch: a T(x) + (1 - a) x, where a is the sigmoid of a scalar initialised to 0.

    Args:
        mixer: the mixer T.
        names: names of the scalars, one per branch.
    """

    def __init__(self, mixer: Mixer, names: tp.Sequence[str]):
        super().__init__(mixer)
        self.gates = tuple(names)
        for name in names:
            self.register_parameter(name, nn.Parameter(torch.zeros(())))

    def forward(self, *states: torch.Tensor) -> States:
        gates = (torch.sigmoid(getattr(self, name)) for name in self.gates)
        return tuple(gate * mixed + (1 - gate) * state
                     for gate, mixed, state in zip(gates, self._mixer[0](*states), states, strict=True))

    def gate_values(self) -> tp.Dict[str, float]:
        return {**{name: float(torch.sigmoid(getattr(self, name).detach())) for name in self.gates},
                **super().gate_values()}


def cross_domain(channels: int, *, bottom: int, spec: TransformerSpec, gates: tp.Sequence[str] = (),
                name: str = "crosstransformer", unused: bool = False) -> Mixer:
    """New mixer for states with `channels` channels, with a transformer called `name` of `bottom` channels (0: of
    `channels`) and the settings `spec`, whose own number of channels is ignored. With `gates`, the names of scalars, a
    learned gate per branch follows it. Without transformer layers it returns its input. `unused` is that of
    `SelfTransformer`.

    Raises:
        ValueError: if the settings of the transformer are inconsistent.
    """
    single = spec.pattern == "self"
    resize: tp.Dict[str, nn.Module] = {}
    if bottom:
        for branch in ("",) if single else ("", "_t"):
            resize["channel_upsampler" + branch] = nn.Conv1d(channels, bottom, 1)
            resize["channel_downsampler" + branch] = nn.Conv1d(bottom, channels, 1)
    if not spec.layers:
        return PassedOn(resize)
    spec = dataclasses.replace(spec, channels=bottom or channels)
    transformer = SelfTransformer(spec, unused=unused) if single else CrossTransformer(spec)
    mixer = CrossDomain(resize, transformer, name)
    return Gated(mixer, gates) if gates else mixer
