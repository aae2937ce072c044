"""The assembler of hybrid models: view -> encoders -> mixer -> decoders -> view back -> fusion.

Modules are built in the published order (frequency encoder, time encoder, frequency decoder, time decoder, level by
level) while their names and the order of parameters are those of published Demucs (all of `encoder`, then `decoder`,
`tencoder`, `tdecoder`, `freq_emb`, the mixer's parts): seeded initial weights depend on the first, optimiser states on the second.
"""

import dataclasses
import typing as tp

import torch
from torch import nn

from ...layers.bands import BandSplitDecoder, BandSplitEncoder
from ...layers.blocks import DecoderBlock, EncoderBlock
from ...layers.embedding import FrequencyEmbedding
from ...layers.initial import rescale_convolutions
from ..protocol import SeparationModel
from .towers import Level, mirrored_outermost
from .view import ComplexAsChannels, MagnitudeMask, SpectralView

EPSILON = 1e-5   # added to standard deviations, so that silence stays silence


@dataclasses.dataclass(frozen=True)
class EmbeddingSpec:
    """Frequency embedding after the first level; see `FrequencyEmbedding`."""
    weight: float
    scale: float
    smooth: bool


def _normalise(x: torch.Tensor) -> tp.Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`x` [B, ...] with zero mean and unit deviation per example, and both for the way back."""
    dims = tuple(range(1, x.dim()))
    mean, std = x.mean(dims, keepdim=True), x.std(dims, keepdim=True)
    return (x - mean) / (EPSILON + std), mean, std


class HybridNet(SeparationModel):
    """A separator with a frequency branch and, where `levels` have temporal rows, a time branch.

    Args:
        sources: names of the sources, in the order of the output.
        audio_channels, samplerate: of the waveforms, in Hz.
        segment: seconds of audio that separation cuts songs into.
        view, representation, levels, fusion, embedding: the parts; see the modules of this package.
        make_mixer: builds the mixer for a number of channels at the bottom; its parts are named like children of this.
        context, context_enc: half widths of the 1x1 convolutions in decoder and encoder.
        rescale: reference deviation of the initial weights of both towers; 0 leaves torch's.
    """

    def __init__(self, sources: tp.Sequence[str], *, audio_channels: int, samplerate: int, segment: float,
                 view: SpectralView, representation: tp.Union[ComplexAsChannels, MagnitudeMask],
                 levels: tp.Sequence[Level], make_mixer: tp.Callable[[int], nn.Module], fusion: nn.Module,
                 embedding: tp.Optional[EmbeddingSpec], context: int, context_enc: int, rescale: float):
        super().__init__()
        self.sources = list(sources)
        self.audio_channels = audio_channels
        self.samplerate = samplerate
        self.segment = segment
        self.view = view
        self.representation = representation

        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        self.has_time_branch = levels[0].temporal is not None
        if self.has_time_branch:
            self.tencoder, self.tdecoder = nn.ModuleList(), nn.ModuleList()
        self.freq_emb: tp.Optional[FrequencyEmbedding] = None
        for index, level in enumerate(levels):
            self._add_level(level, outermost=index == 0, context=context, context_enc=context_enc)
            if index == 0 and embedding is not None:
                self.freq_emb = FrequencyEmbedding(level.bins_below, level.spectral.inner, weight=embedding.weight,
                                                   scale=embedding.scale, smooth=embedding.smooth)
        if rescale:
            rescale_convolutions(self, rescale)
        mixer = make_mixer(levels[-1].spectral.inner)
        self._mixer = (mixer,)           # in a tuple torch does not see it: only its parts are registered, under our name
        for name, part in mixer.named_children():
            self.add_module(name, part)
        self.fusion = fusion

    @property
    def draws_in_training(self) -> bool:
        """Whether the forward pass draws random numbers in training."""
        return self._mixer[0].draws_in_training

    def _add_level(self, level: Level, *, outermost: bool, context: int, context_enc: int) -> None:
        split = bool(level.spectral.bands)
        encoder: nn.Module = EncoderBlock(level.spectral, context=context_enc, dconv=level.dconv_down)
        if level.temporal:
            self.tencoder.append(EncoderBlock(level.temporal, context=context_enc, dconv=level.dconv_down))
        self.encoder.append(BandSplitEncoder(encoder) if split else encoder)

        if outermost:
            level = mirrored_outermost(level, sources=len(self.sources))
        decoder: nn.Module = DecoderBlock(level.spectral, context=context, dconv=level.dconv_up, last=outermost,
                                          context_over_frequency=not split)
        self.decoder.insert(0, BandSplitDecoder(decoder) if split else decoder)
        if level.temporal:
            self.tdecoder.insert(0, DecoderBlock(level.temporal, context=context, dconv=level.dconv_up,
                                                 last=outermost))

    def forward(self, mix: torch.Tensor) -> torch.Tensor:
        """Estimates [B, S, A, L] of the sources in a mixture [B, A, L], for any L >= 1."""
        length = mix.shape[-1]
        z = self.view.analyse(mix)
        spectral, mean, std = _normalise(self.representation.encode(z))
        temporal = mean_time = std_time = None
        if self.has_time_branch:
            temporal, mean_time, std_time = _normalise(mix)

        spectral, temporal = self._through_towers(spectral, temporal)

        features = spectral.view(len(mix), len(self.sources), -1, *z.shape[-2:]) * std[:, None] + mean[:, None]
        estimates = [self.view.synthesise(self.representation.decode(features, z, self.training), length)]
        if temporal is not None:
            waves = temporal.view(len(mix), len(self.sources), -1, length)
            estimates.insert(0, waves * std_time[:, None] + mean_time[:, None])
        return self.fusion(estimates)

    def _through_towers(self, spectral: torch.Tensor, temporal: tp.Optional[torch.Tensor]
                        ) -> tp.Tuple[torch.Tensor, tp.Optional[torch.Tensor]]:
        skips, lengths = [], []                  # of the frequency branch: outputs, and time steps before each level
        time_skips, time_lengths = [], []        # of the time branch; the level of the meeting leaves no skip
        for index, encode in enumerate(self.encoder):
            inject = None
            if temporal is not None and index < len(self.tencoder):
                time_lengths.append(temporal.shape[-1])
                temporal = self.tencoder[index](temporal)
                if self.tencoder[index].spec.merge:
                    inject = temporal
                else:
                    time_skips.append(temporal)
            lengths.append(spectral.shape[-1])
            spectral = encode(spectral, inject)
            if index == 0 and self.freq_emb is not None:
                spectral = self.freq_emb(spectral)
            skips.append(spectral)

        spectral, temporal = self._mixer[0](spectral, temporal)

        # The time decoders stand beside the last frequency decoders, as the time encoders beside the first ones.
        first_shared = len(self.decoder) - len(self.tdecoder) if temporal is not None else len(self.decoder)
        for index, decode in enumerate(self.decoder):
            spectral, before = decode(spectral, skips.pop(), lengths.pop())
            if index >= first_shared:
                time_decode = self.tdecoder[index - first_shared]
                if time_decode.spec.merge:
                    temporal, _ = time_decode(before[:, :, 0], None, time_lengths.pop())
                else:
                    temporal, _ = time_decode(temporal, time_skips.pop(), time_lengths.pop())
        return spectral, temporal
