"""Hybrid models made from parts by their settings alone: any branches, mixers and fusion."""

import dataclasses
import typing as tp

import torch
from torch import nn
from torch.nn import functional as F

from .hybrid import composition
from .hybrid.segment import SegmentNet

Section = tp.Optional[tp.Dict[str, tp.Any]]
SECTIONS = ("levels", "branches", "mixers", "fusion")


@dataclasses.dataclass(frozen=True)
class ComposedSettings:
    """Settings of a hybrid model made from parts; documented in `Composed`."""
    audio_channels: int = 2
    channels: int = 48
    growth: tp.Union[float, tp.Sequence[float]] = 2.
    depth: int = 4
    levels: Section = None
    branches: Section = None
    mixers: Section = None
    fusion: Section = None
    rescale: float = 0.1
    as_published: bool = False
    samplerate: int = 44100
    segment: float = 10
    use_train_segment: bool = True


class Composed(SegmentNet):
    """Hybrid model made from parts by its settings, mixture [B, A, L] -> estimates [B, S, A, L].

    Args:
        sources: names of the sources.
        audio_channels, samplerate: number of channels and sample rate in Hz of the waveforms.
        channels, growth, depth: channels of the first level of all branches, their factor from one level to the next
            (or a list of them), and the number of levels.
        levels: other settings of the levels of all branches; see `hybrid.settings.BranchSettings`.
        branches: by name, their settings that differ; None: a spectrogram of 4096 samples and the waveform.
        mixers: transformers by name, with their sites; see `hybrid.settings.MixerSettings`. None: no mixer.
        fusion: how the estimates of all branches become one; see `hybrid.settings.FusionSettings`. None: their sum.
        rescale: reference standard deviation of initial weights (0: keep torch's initialisation).
        as_published: build variants as their author published them, with their errors and unused parameters.
        segment, use_train_segment: see `SegmentNet`.

    Raises:
        ValueError: for settings that are unknown or contradict each other; the message names them.
    """

    Settings = ComposedSettings
    row: tp.ClassVar[tp.Mapping[str, tp.Any]] = {}      # sections of a variant, which those of its settings change
    unused: tp.ClassVar[tp.Sequence[str]] = ()          # scalars that only `as_published` has, without an effect

    def __init__(self, sources: tp.Sequence[str], *args: tp.Any, **kwargs: tp.Any):
        s = self.Settings(*args, **kwargs)
        levels, parts, mixers, fusion = (composition.changed(self.row.get(key), getattr(s, key), key)
                                         for key in SECTIONS)
        branches = composition.branches(
            parts, levels, {"channels": s.channels, "growth": s.growth, "depth": s.depth},
            audio_channels=s.audio_channels, as_published=s.as_published)
        built: tp.Dict[str, tp.Any] = {"rescale": s.rescale, "as_published": s.as_published}
        super().__init__(
            sources, audio_channels=s.audio_channels, samplerate=s.samplerate, segment=s.segment, branches=branches,
            mixers=composition.mixers(mixers, branches, **built),
            fusion=composition.fusion(fusion, branches, sources=len(sources), audio_channels=s.audio_channels,
                                      **built),
            context=1, context_enc=0, rescale=s.rescale, use_train_segment=s.use_train_segment)
        for name in self.unused if s.as_published else ():
            self.register_parameter(name, nn.Parameter(torch.zeros(()), requires_grad=False))
        self.shortest = composition.shortest_input(branches)
        if s.use_train_segment and int(s.segment * s.samplerate) < self.shortest:
            raise ValueError(f"segment={float(s.segment):g} s is too short for its levels, which need at least "
                             f"{self.shortest} samples ({self.shortest / s.samplerate:g} s)")

    def forward(self, mix: torch.Tensor) -> torch.Tensor:
        length = mix.shape[-1]
        return super().forward(F.pad(mix, (0, max(0, self.shortest - length))))[..., :length]
