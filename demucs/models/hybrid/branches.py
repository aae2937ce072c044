"""Branches of a hybrid model: input representation, encoder and decoder levels, and the level of the merge."""

import dataclasses
import typing as tp

from ...layers.blocks import LayerSpec
from ...layers.dconv import DConvSpec
from .view import ComplexAsChannels, MagnitudeMask, SpectralView

NEVER = 999     # first level of a feature that a model does not use, as in published configurations


@dataclasses.dataclass(frozen=True)
class Row:
    """One level of a branch: the convolutions of its encoder and decoder (`layer`), and their residual branches
    (`dconv_down` of the encoder, `dconv_up` of the decoder; None: without).

    `bins_below` is the number of frequency bins after the encoder of this level, in a branch with a spectrogram.
    """
    layer: LayerSpec
    bins_below: int = 0
    dconv_down: tp.Optional[DConvSpec] = None
    dconv_up: tp.Optional[DConvSpec] = None

    def mirrored(self, sources: int) -> "Row":
        """Copy of the outermost row for its decoder: with `sources` times as many outer channels, one set per
        source."""
        return dataclasses.replace(self, layer=dataclasses.replace(self.layer, outer=self.layer.outer * sources))


@dataclasses.dataclass(frozen=True)
class EmbeddingSpec:
    """Settings of the frequency embedding that is added after the first level; `name` is that of its module in the
    model. See `FrequencyEmbedding` for the others."""
    weight: float
    scale: float
    smooth: bool
    name: str = "freq_emb"


@dataclasses.dataclass(frozen=True)
class Branch:
    """One U-Net of a hybrid model.

    Attributes:
        name: name in messages, mixers and fusion.
        encoder, decoder: names of its modules in the model; a dot is before the place in a list, as in "encoders.0".
        rows: its levels, from the outermost to the innermost.
        view: its spectrogram; None: its input is the waveform.
        representation: real representation of the complex spectrogram, if there is a view.
        embedding: frequency embedding; None: without.
        joins: the branch that its last row, which must have `merge`, is added to in the encoder, and from which it
            continues in the decoder.
        skips_mixed: whether a skip connection at a level with a mixer is the output of the mixer, instead of its input.
        normalize: whether its input is normalised to zero mean and unit standard deviation, and its output
            denormalised.
    """
    name: str
    encoder: str
    decoder: str
    rows: tp.Sequence[Row]
    view: tp.Optional[SpectralView] = None
    representation: tp.Union[None, ComplexAsChannels, MagnitudeMask] = None
    embedding: tp.Optional[EmbeddingSpec] = None
    joins: tp.Optional[str] = None
    skips_mixed: bool = False
    normalize: bool = True


@dataclasses.dataclass(frozen=True)
class HybridSettings:
    """Published hyper-parameters of HDemucs, in their published order; documented in `HDemucs`."""
    audio_channels: int = 2
    channels: int = 48
    channels_time: tp.Optional[int] = None
    growth: float = 2
    nfft: int = 4096
    wiener_iters: int = 0
    end_iters: int = 0
    wiener_residual: bool = False
    cac: bool = True
    depth: int = 6
    rewrite: bool = True
    hybrid: bool = True
    hybrid_old: bool = False
    multi_freqs: tp.Optional[tp.Sequence[float]] = None
    multi_freqs_depth: int = 2
    freq_emb: float = 0.2
    emb_scale: float = 10
    emb_smooth: bool = True
    kernel_size: int = 8
    time_stride: int = 2
    stride: int = 4
    context: int = 1
    context_enc: int = 0
    norm_starts: int = 4
    norm_groups: int = 4
    dconv_mode: int = 1
    dconv_depth: int = 2
    dconv_comp: float = 4
    dconv_attn: int = 4
    dconv_lstm: int = 4
    dconv_init: float = 1e-4
    rescale: float = 0.1
    samplerate: int = 44100
    segment: float = 40


def published_branches(s: HybridSettings) -> tp.List[Branch]:
    """Branches of a published hybrid model: the frequency branch, then the time branch if `s.hybrid`.

    Raises:
        ValueError: if the branches would merge at different frame rates, `multi_freqs` would split a normalised level
            or the one of the merge, or the channels of a level are not a multiple of `norm_groups`.
    """
    view = SpectralView(s.nfft, aligned=s.hybrid, legacy_padding=s.hybrid_old)
    representation = ComplexAsChannels() if s.cac else MagnitudeMask(s.wiener_iters, s.end_iters, s.wiener_residual)
    spectral, temporal = published_rows(s, bins=view.bins, hop=view.hop,
                                        spectral_channels=s.audio_channels * representation.channels_per_signal)
    embedding = EmbeddingSpec(s.freq_emb, s.emb_scale, s.emb_smooth) if s.freq_emb else None
    branches = [Branch("frequency", "encoder", "decoder", spectral, view, representation, embedding)]
    if s.hybrid:
        joins = "frequency" if temporal[-1].layer.merge else None
        branches.append(Branch("time", "tencoder", "tdecoder", temporal, joins=joins))
    return branches


def published_rows(s: HybridSettings, *, bins: int, hop: int, spectral_channels: int
                   ) -> tp.Tuple[tp.List[Row], tp.List[Row]]:
    """(rows of the frequency branch, rows of the time branch). The second list is shorter if the branches merge.

    Each level of the frequency branch divides the number of frequency bins by `stride` until one bin is left; all
    further levels convolve over time. The time branch has the same strides. It merges with the frequency branch at the
    level that leaves one bin, if the product of its strides then equals the hop of the spectrogram.

    Args:
        bins, hop: of the spectrogram.
        spectral_channels: number of input channels of the frequency branch.

    Raises:
        ValueError: as `published_branches`.
    """
    spectral: tp.List[Row] = []
    temporal: tp.List[Row] = []
    outer, outer_time = spectral_channels, s.audio_channels
    inner, inner_time = s.channels, s.channels_time or s.channels
    steps = 1                                    # samples per frame of the time branch
    for index in range(s.depth):
        over_frequency = bins > 1
        meeting = over_frequency and bins <= s.kernel_size
        groups = s.norm_groups if index >= s.norm_starts else 0
        bands = tuple(s.multi_freqs or ()) if over_frequency and index < s.multi_freqs_depth else ()
        if bands and (groups or meeting):
            raise ValueError(f"multi_freqs cannot split level {index}, which is "
                             f"{'normalised' if groups else 'where the branches meet'}; lower multi_freqs_depth "
                             f"(now {s.multi_freqs_depth})")
        if groups and (inner % groups or inner_time % groups):
            raise ValueError(f"level {index} has {inner} and {inner_time} channels, which norm_groups={groups} does "
                             f"not divide; choose another, or a higher norm_starts (now {s.norm_starts})")
        if meeting:
            # The branches are added, so they need the same number of channels.
            inner = inner_time = max(inner, inner_time)
            kernel, stride, padding = bins, s.stride, 0
        elif over_frequency:
            kernel, stride, padding = s.kernel_size, s.stride, s.kernel_size // 4
        else:
            kernel, stride, padding = 2 * s.time_stride, s.time_stride, s.time_stride * 2 // 4
        common: tp.Dict[str, tp.Any] = {"norm_groups": groups, "rewrite": s.rewrite}
        branch = DConvSpec(depth=s.dconv_depth, compress=s.dconv_comp, init=s.dconv_init,
                           attention=index >= s.dconv_attn, lstm=index >= s.dconv_lstm)
        down, up = (branch if s.dconv_mode & side else None for side in (1, 2))
        layer = LayerSpec(outer, inner, kernel, stride, "frequency" if over_frequency else "time", padding, bands=bands,
                          **common)
        bins = 1 if bins <= s.kernel_size else bins // s.stride
        spectral.append(Row(layer, bins, down, up))
        if s.hybrid and over_frequency:
            layer = LayerSpec(outer_time, inner_time, s.kernel_size, s.stride, "time", s.kernel_size // 4,
                              merge=meeting, **common)
            temporal.append(Row(layer, 0, down, up))
            steps *= s.stride
            if meeting and steps != hop:
                raise ValueError(
                    f"the two branches do not meet: {index + 1} strides of {s.stride} make steps of {steps} samples in "
                    f"the time branch, while the spectrogram's frames are {hop} apart; with stride {s.stride} and "
                    f"kernel_size {s.kernel_size} choose another nfft (now {4 * hop}), for instance 4096 or 1024")
        outer, outer_time = inner, inner_time
        inner, inner_time = int(s.growth * inner), int(s.growth * inner_time)
    return spectral, temporal


def scheduled_rows(*, axis: str, outer: int, channels: tp.Sequence[int], kernels: tp.Sequence[int],
                   strides: tp.Sequence[int], paddings: tp.Sequence[int], bins: int = 0, norm_starts: int = NEVER,
                   norm_groups: int = 4, rewrite: bool = True,
                   down: tp.Union[None, DConvSpec, tp.Sequence[tp.Optional[DConvSpec]]] = None,
                   up: tp.Union[None, DConvSpec, tp.Sequence[tp.Optional[DConvSpec]]] = None, merge: bool = False
                   ) -> tp.List[Row]:
    """Rows of a branch with given channels, kernel sizes, strides and paddings, one number per level, the outermost
    first.

    Args:
        axis: axis of all convolutions, "time" or "frequency". In the second case, levels after the one that leaves a
            single frequency convolve over time.
        outer: number of input channels.
        channels: output channels of each encoder.
        kernels, strides, paddings: of the strided convolutions.
        bins: number of frequency bins of the input, for `axis` "frequency".
        norm_starts, norm_groups: first level (from 0) with group normalisation, and its number of groups.
        rewrite: use the rewrite convolution in each block.
        down, up: residual branches of all encoders and of all decoders, or one per level; None: without.
        merge: whether the last row is added to another branch.

    Raises:
        ValueError: if the lists have different lengths, a level leaves no frequency bin, or its decoder would not
            restore the bins of its input.
    """
    lengths = {len(channels), len(kernels), len(strides), len(paddings)}
    if len(lengths) > 1:
        raise ValueError(f"channels, kernels, strides and paddings need one number per level, got {len(channels)}, "
                         f"{len(kernels)}, {len(strides)} and {len(paddings)}")
    depth = len(channels)
    downs, ups = (side if isinstance(side, (list, tuple)) else depth * [side] for side in (down, up))
    rows = []
    for index, (inner, kernel, stride, padding) in enumerate(zip(channels, kernels, strides, paddings)):
        settings = f"level {index} with kernel {kernel}, stride {stride} and padding {padding}"
        here = axis if bins > 1 else "time"
        if kernel < stride or padding < 0:
            raise ValueError(f"{settings} would leave out some of its input; the kernel must be at least the stride, "
                             f"and the padding at least 0")
        if here == "frequency":
            reach = bins + 2 * padding - kernel
            if reach < 0:
                raise ValueError(f"{settings} leaves no frequency; use fewer levels or smaller kernels")
            if reach % stride:
                raise ValueError(f"{settings} does not divide {bins} frequencies evenly, so its decoder could not "
                                 f"restore them; choose a padding of (kernel - stride) / 2, and strides that divide "
                                 f"the frequencies")
            bins = reach // stride + 1
        if here == "time" and (2 * padding - kernel) // stride * stride + kernel < padding:
            raise ValueError(f"{settings} leaves out the end of its input; choose a padding of (kernel - stride) / 2")
        layer = LayerSpec(outer, inner, kernel, stride, here, padding, norm_groups if index >= norm_starts else 0,
                          rewrite, merge=merge and index == depth - 1)
        rows.append(Row(layer, bins, downs[index], ups[index]))
        outer = inner
    return rows
