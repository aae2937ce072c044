"""The rows that hybrid towers are stacked from, worked out from the published hyper-parameters.

The frequency branch halves its axis by `stride` per level until one frequency is left; from there on its levels run
over time. The time branch runs beside it with the same strides and meets it at the level where one frequency is left,
if by then its steps are as far apart as the spectrogram's frames.
"""

import dataclasses
import typing as tp

from ...layers.blocks import LayerSpec
from ...layers.dconv import DConvSpec


@dataclasses.dataclass(frozen=True)
class Level:
    """One depth of the U: the frequency branch's row, the time branch's row (None below the meeting), and the residual
    branches on the way down and up."""
    spectral: LayerSpec
    temporal: tp.Optional[LayerSpec]
    bins_below: int                              # frequencies left under this level
    dconv_down: tp.Optional[DConvSpec]
    dconv_up: tp.Optional[DConvSpec]


def hybrid_levels(*, bins: int, hop: int, channels: int, channels_time: tp.Optional[int], growth: float, depth: int,
                  audio_channels: int, spectral_channels: int, hybrid: bool, rewrite: bool, kernel_size: int,
                  stride: int, time_stride: int, norm_starts: int, norm_groups: int, multi_freqs: tp.Sequence[float],
                  multi_freqs_depth: int, dconv_mode: int, dconv_depth: int, dconv_comp: float, dconv_attn: int,
                  dconv_lstm: int, dconv_init: float) -> tp.List[Level]:
    """The levels from the signal down to the bottom.

    Args are those of the published configuration; `bins` and `hop` come from the spectral view, `audio_channels` and
    `spectral_channels` are the input channels of the two branches.

    Raises:
        ValueError: where the branches would meet at different rates, or `multi_freqs` would split a normalised level
            or one without padding.
    """
    levels = []
    outer, outer_time = spectral_channels, audio_channels
    inner, inner_time = channels, channels_time or channels
    steps = 1                                    # samples per step of the time branch
    for index in range(depth):
        over_frequency = bins > 1
        meeting = over_frequency and bins <= kernel_size
        groups = norm_groups if index >= norm_starts else 0
        bands = tuple(multi_freqs) if over_frequency and index < multi_freqs_depth else ()
        if bands and (groups or meeting):
            raise ValueError(f"multi_freqs cannot split level {index}, which is "
                             f"{'normalised' if groups else 'where the branches meet'}; lower multi_freqs_depth "
                             f"(now {multi_freqs_depth})")
        if groups and (inner % groups or inner_time % groups):
            raise ValueError(f"level {index} has {inner} and {inner_time} channels, which norm_groups={groups} does not "
                             f"divide; choose another, or a higher norm_starts (now {norm_starts})")
        if meeting:
            # The branches are added, so they need the same width.
            inner = inner_time = max(inner, inner_time)
            kernel, hop_over, padding = bins, stride, 0
        elif over_frequency:
            kernel, hop_over, padding = kernel_size, stride, kernel_size // 4
        else:
            kernel, hop_over, padding = 2 * time_stride, time_stride, time_stride * 2 // 4
        common: tp.Dict[str, tp.Any] = {"norm_groups": groups, "rewrite": rewrite}
        spectral = LayerSpec(outer, inner, kernel, hop_over, "frequency" if over_frequency else "time", padding,
                             bands=bands, **common)
        temporal = None
        if hybrid and over_frequency:
            temporal = LayerSpec(outer_time, inner_time, kernel_size, stride, "time", kernel_size // 4,
                                 merge=meeting, **common)
            steps *= stride
            if meeting and steps != hop:
                raise ValueError(
                    f"the two branches do not meet: {index + 1} strides of {stride} make steps of {steps} samples in "
                    f"the time branch, while the spectrogram's frames are {hop} apart; with stride {stride} and "
                    f"kernel_size {kernel_size} choose another nfft (now {4 * hop}), for instance 4096 or 1024")
        branch = DConvSpec(depth=dconv_depth, compress=dconv_comp, init=dconv_init,
                           attention=index >= dconv_attn, lstm=index >= dconv_lstm)
        bins = 1 if bins <= kernel_size else bins // stride
        levels.append(Level(spectral, temporal, bins_below=bins,
                            dconv_down=branch if dconv_mode & 1 else None,
                            dconv_up=branch if dconv_mode & 2 else None))
        outer, outer_time = inner, inner_time
        inner, inner_time = int(growth * inner), int(growth * inner_time)
    return levels


def mirrored_outermost(level: Level, *, sources: int) -> Level:
    """The outermost level as its decoder sees it: one set of output channels per source."""
    spectral = dataclasses.replace(level.spectral, outer=level.spectral.outer * sources)
    temporal = level.temporal and dataclasses.replace(level.temporal, outer=level.temporal.outer * sources)
    return dataclasses.replace(level, spectral=spectral, temporal=temporal)
