"""HDemucs, the hybrid spectrogram and waveform Demucs (Défossez 2021, arXiv:2111.03600), as a configuration of
`HybridNet`.

It has all keys of the published configuration, with the published defaults of the class. Parameter names, shapes, order
and seeded initial weights are those of published Demucs, so weights can be exchanged.
"""

import typing as tp

from .hybrid.branches import HybridSettings, published_branches
from .hybrid.fusion import Sum
from .hybrid.mixer import SkipsOnly
from .hybrid.net import HybridNet


class HDemucs(HybridNet):
    """Hybrid separation model with a frequency and a time branch, mixture [B, A, L] -> estimates [B, S, A, L], for any
    L >= 1.

    Args:
        sources: names of the sources.
        audio_channels, samplerate, segment: number of channels, sample rate in Hz, seconds per segment in separation.
        channels: hidden channels of the first level; `channels_time` those of the time branch, if different.
        growth: factor of the channels from one level to the next.
        nfft: window length of the spectrogram in samples; the hop is a quarter of it. The product of the strides of the
            time branch must equal the hop where the branches merge. With kernel size 8 and stride 4, this holds for
            4096 and 1024.
        wiener_iters, end_iters, wiener_residual: Wiener filtering for `cac=False`; see `MagnitudeMask`. A hybrid model
            is trained on the sum of its branches, so both numbers of iterations must be equal.
        cac: complex as channels; otherwise the network estimates magnitudes.
        depth: number of levels.
        rewrite: use the 1x1 convolution with GLU in each block.
        hybrid: with a time branch; `hybrid_old` keeps the padding of the first published hybrid models.
        multi_freqs, multi_freqs_depth: separate weights per frequency band in the outermost levels; see `layers.bands`.
        freq_emb, emb_scale, emb_smooth: frequency embedding (0: none); see `FrequencyEmbedding`.
        kernel_size, stride: of the convolutions; `time_stride` is the stride of the levels after the branches have
            merged.
        context, context_enc: half width of the rewrite convolutions in decoder and encoder (0: kernel size 1).
        norm_starts, norm_groups: first level (from 0) with group normalisation, and its number of groups.
        dconv_mode: residual branches in the encoder (1), the decoder (2), both (3) or neither (0).
        dconv_depth, dconv_comp, dconv_init: layers, compression and initial gain of the residual branches.
        dconv_attn, dconv_lstm: first level (from 0) whose residual branches have attention, an LSTM.
        rescale: reference standard deviation of initial weights (0: keep torch's initialisation).

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
