"""HDemucs, the hybrid spectrogram and waveform Demucs (Défossez 2021, arXiv:2111.03600), as a row of the assembler.

All keys of the published configuration are here, with the published defaults of the class. Parameter names, shapes,
order and seeded initial weights are those of published Demucs, so weights can be exchanged.
"""

import typing as tp

from .hybrid.fusion import Sum
from .hybrid.mixer import SkipsOnly
from .hybrid.net import EmbeddingSpec, HybridNet
from .hybrid.towers import hybrid_levels
from .hybrid.view import ComplexAsChannels, MagnitudeMask, SpectralView


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

    def __init__(self, sources: tp.Sequence[str], audio_channels: int = 2, channels: int = 48,
                 channels_time: tp.Optional[int] = None, growth: float = 2, nfft: int = 4096, wiener_iters: int = 0,
                 end_iters: int = 0, wiener_residual: bool = False, cac: bool = True, depth: int = 6,
                 rewrite: bool = True, hybrid: bool = True, hybrid_old: bool = False,
                 multi_freqs: tp.Optional[tp.Sequence[float]] = None, multi_freqs_depth: int = 2,
                 freq_emb: float = 0.2, emb_scale: float = 10, emb_smooth: bool = True, kernel_size: int = 8,
                 time_stride: int = 2, stride: int = 4, context: int = 1, context_enc: int = 0, norm_starts: int = 4,
                 norm_groups: int = 4, dconv_mode: int = 1, dconv_depth: int = 2, dconv_comp: float = 4,
                 dconv_attn: int = 4, dconv_lstm: int = 4, dconv_init: float = 1e-4, rescale: float = 0.1,
                 samplerate: int = 44100, segment: float = 40):
        if hybrid_old and not hybrid:
            raise ValueError("hybrid_old=True needs hybrid=True")
        if hybrid and wiener_iters != end_iters:
            raise ValueError(f"a hybrid model needs wiener_iters and end_iters equal, got {wiener_iters} and "
                             f"{end_iters}")
        view = SpectralView(nfft, aligned=hybrid, legacy_padding=hybrid_old)
        representation = ComplexAsChannels() if cac else MagnitudeMask(wiener_iters, end_iters, wiener_residual)
        levels = hybrid_levels(
            bins=view.bins, hop=view.hop, channels=channels, channels_time=channels_time, growth=growth, depth=depth,
            audio_channels=audio_channels, spectral_channels=audio_channels * representation.channels_per_signal,
            hybrid=hybrid, rewrite=rewrite, kernel_size=kernel_size, stride=stride, time_stride=time_stride,
            norm_starts=norm_starts, norm_groups=norm_groups, multi_freqs=multi_freqs or (),
            multi_freqs_depth=multi_freqs_depth, dconv_mode=dconv_mode, dconv_depth=dconv_depth,
            dconv_comp=dconv_comp, dconv_attn=dconv_attn, dconv_lstm=dconv_lstm, dconv_init=dconv_init)
        super().__init__(
            sources, audio_channels=audio_channels, samplerate=samplerate, segment=segment, view=view,
            representation=representation, levels=levels, make_mixer=lambda channels: SkipsOnly(),
            fusion=Sum(),
            embedding=EmbeddingSpec(freq_emb, emb_scale, emb_smooth) if freq_emb else None,
            context=context, context_enc=context_enc, rescale=rescale)
