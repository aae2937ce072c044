"""HDemucs, the hybrid spectrogram and waveform Demucs (Défossez 2021, arXiv:2111.03600), as a row of the assembler.

All keys of the published configuration are here, with the published defaults of the class. Parameter names, shapes,
order and seeded initial weights are those of published Demucs, so weights can be exchanged.
"""

import typing as tp

from .hybrid.branches import HybridSettings, published_branches
from .hybrid.fusion import Sum
from .hybrid.mixer import SkipsOnly
from .hybrid.net import HybridNet


class HDemucs(HybridNet):
    """[B, A, L] -> [B, S, A, L].

    Args:
        sources: names of the sources.
        audio_channels, samplerate, segment: of the audio: channels, Hz, seconds per piece when separating.
        channels: hidden channels of the first level; `channels_time` those of the time branch, where different.
        growth: factor of the channels from one level to the next.
        nfft: window of the spectrogram in samples; the hop is a quarter of it. The strides of the time branch must
            multiply to the hop where the branches meet, which 4096 and 1024 do at kernel 8 and stride 4.
        wiener_iters, end_iters, wiener_residual: Wiener filtering for `cac=False`; see `MagnitudeMask`. A hybrid model
            is trained on its own sum, so both numbers of rounds must be equal there.
        cac: complex numbers as channels; otherwise the network estimates magnitudes.
        depth: number of levels.
        rewrite: the 1x1 convolution with GLU in each block.
        hybrid: with a time branch; `hybrid_old` keeps the padding of the first published hybrid models.
        multi_freqs, multi_freqs_depth: own weights per frequency band in the outermost levels; see `layers.bands`.
        freq_emb, emb_scale, emb_smooth: frequency embedding (0: none); see `FrequencyEmbedding`.
        kernel_size, stride: of the convolutions; `time_stride` is the stride below the meeting of the branches.
        context, context_enc: half width of the 1x1 convolutions in decoder and encoder.
        norm_starts, norm_groups: first level with group normalisation, and its number of groups.
        dconv_mode: residual branches in the encoder (1), the decoder (2), both (3) or nowhere (0).
        dconv_depth, dconv_comp, dconv_init: layers, compression and initial gain of the residual branches.
        dconv_attn, dconv_lstm: first level whose residual branches have attention, an LSTM.
        rescale: reference standard deviation of initial weights (0: leave torch's).

    Raises:
        ValueError: for settings that contradict each other; the message names them.
    """

    Settings = HybridSettings

    def __init__(self, sources: tp.Sequence[str], *args: tp.Any, **kwargs: tp.Any):
        s = self.Settings(*args, **kwargs)
        if s.hybrid_old and not s.hybrid:
            raise ValueError("hybrid_old=True needs hybrid=True")
        if s.hybrid and s.wiener_iters != s.end_iters:
            raise ValueError(f"a hybrid model needs wiener_iters and end_iters equal, got {s.wiener_iters} and "
                             f"{s.end_iters}")
        super().__init__(
            sources, audio_channels=s.audio_channels, samplerate=s.samplerate, segment=s.segment,
            branches=published_branches(s), mixers={"bottom": lambda channels: SkipsOnly()}, fusion=Sum(),
            context=s.context, context_enc=s.context_enc, rescale=s.rescale)
