"""HTDemucs, the hybrid transformer Demucs (Rouard, Massa and Défossez 2022, arXiv:2211.08553), as a row of the assembler.

Shallower towers than HDemucs and no LSTM or attention inside of them: a transformer across both branches mixes what they
end with. All keys of the published configuration are here, with the published defaults of the class; parameter names,
shapes, order and seeded initial weights are those of published Demucs.
"""

import functools
import typing as tp

import torch
from torch.nn import functional as F

from ..layers.transformer import MaskSpec, TransformerSpec
from .hybrid.fusion import Sum
from .hybrid.mixer import cross_domain
from .hybrid.net import EmbeddingSpec, HybridNet
from .hybrid.towers import hybrid_levels
from .hybrid.view import ComplexAsChannels, MagnitudeMask, SpectralView

NEVER = 10 ** 6      # the first level with attention or an LSTM: none


class HTDemucs(HybridNet):
    """[B, A, L] -> [B, S, A, L].

    Args:
        sources to rescale, without those that begin with t_: see `HDemucs`.
        bottom_channels: channels inside of the transformer; 0 for those that the towers end with.
        t_layers to t_lr: see `layers.transformer.TransformerSpec`. t_norm_in_group, t_group_norm and t_norm_out are
            numbers of groups, where true is one.
        t_sparse_self_attn, t_sparse_cross_attn: fixed sparse patterns of attention, within and across branches, as
            `t_mask_type` names them ("diag_random", ...), with t_mask_random_seed, t_sparse_attn_window,
            t_global_window, t_sparsity: see `layers.sparsity`.
        t_auto_sparsity: patterns found by hashing. Its kernels were never released, so it is refused.
        segment: seconds; with `use_train_segment` also the length of a training example, which is what the transformer
            knows: shorter input is padded to it when not training, and longer input is refused.

    Raises:
        ValueError: for settings that contradict each other; the message names them.
    """

    def __init__(self, sources: tp.Sequence[str], audio_channels: int = 2, channels: int = 48,
                 channels_time: tp.Optional[int] = None, growth: float = 2, nfft: int = 4096, wiener_iters: int = 0,
                 end_iters: int = 0, wiener_residual: bool = False, cac: bool = True, depth: int = 4,
                 rewrite: bool = True, multi_freqs: tp.Optional[tp.Sequence[float]] = None, multi_freqs_depth: int = 3,
                 freq_emb: float = 0.2, emb_scale: float = 10, emb_smooth: bool = True, kernel_size: int = 8,
                 time_stride: int = 2, stride: int = 4, context: int = 1, context_enc: int = 0, norm_starts: int = 4,
                 norm_groups: int = 4, dconv_mode: int = 1, dconv_depth: int = 2, dconv_comp: float = 8,
                 dconv_init: float = 1e-3, bottom_channels: int = 0, t_layers: int = 5, t_emb: str = "sin",
                 t_hidden_scale: float = 4.0, t_heads: int = 8, t_dropout: float = 0.0, t_max_positions: int = 10000,
                 t_norm_in: bool = True, t_norm_in_group: int = False, t_group_norm: int = False,
                 t_norm_first: bool = True, t_norm_out: int = True, t_max_period: float = 10000.0,
                 t_weight_decay: float = 0.0, t_lr: tp.Optional[float] = None, t_layer_scale: bool = True,
                 t_gelu: bool = True, t_weight_pos_embed: float = 1.0, t_sin_random_shift: int = 0,
                 t_cape_mean_normalize: bool = True, t_cape_augment: bool = True,
                 t_cape_glob_loc_scale: tp.Sequence[float] = (5000.0, 1.0, 1.4), t_sparse_self_attn: bool = False,
                 t_sparse_cross_attn: bool = False, t_mask_type: str = "diag", t_mask_random_seed: int = 42,
                 t_sparse_attn_window: int = 500, t_global_window: int = 100, t_sparsity: float = 0.95,
                 t_auto_sparsity: bool = False, t_cross_first: bool = False, rescale: float = 0.1,
                 samplerate: int = 44100, segment: float = 10, use_train_segment: bool = True):
        if wiener_iters != end_iters:
            raise ValueError(f"wiener_iters and end_iters must be equal, got {wiener_iters} and {end_iters}")
        if t_auto_sparsity and (t_sparse_self_attn or t_sparse_cross_attn):
            raise ValueError("t_auto_sparsity=true needs kernels that were never released; set it to false, and choose a "
                             "fixed pattern with t_mask_type")
        mask = MaskSpec(kinds=tuple(t_mask_type.split("_")), window=t_sparse_attn_window,
                        global_window=t_global_window, sparsity=t_sparsity, seed=t_mask_random_seed)
        mask.check()
        global_shift, local_shift, scale = t_cape_glob_loc_scale
        transformer = TransformerSpec(
            channels=0, heads=t_heads, hidden_scale=t_hidden_scale, layers=t_layers, cross_first=t_cross_first,
            dropout=t_dropout, norm_in=t_norm_in, norm_in_group=int(t_norm_in_group), group_norm=int(t_group_norm),
            norm_first=t_norm_first, norm_out=int(t_norm_out), layer_scale=t_layer_scale, gelu=t_gelu, positions=t_emb,
            weight_positions=t_weight_pos_embed, max_positions=t_max_positions, max_period=t_max_period,
            random_shift=t_sin_random_shift, cape_centred=t_cape_mean_normalize, cape_augment=t_cape_augment,
            cape_bounds=(global_shift, local_shift, scale), weight_decay=t_weight_decay, lr=t_lr,
            sparse_self=mask if t_sparse_self_attn else None, sparse_cross=mask if t_sparse_cross_attn else None)
        view = SpectralView(nfft)
        representation = ComplexAsChannels() if cac else MagnitudeMask(wiener_iters, end_iters, wiener_residual)
        levels = hybrid_levels(
            bins=view.bins, hop=view.hop, channels=channels, channels_time=channels_time, growth=growth, depth=depth,
            audio_channels=audio_channels, spectral_channels=audio_channels * representation.channels_per_signal,
            hybrid=True, rewrite=rewrite, kernel_size=kernel_size, stride=stride, time_stride=time_stride,
            norm_starts=norm_starts, norm_groups=norm_groups, multi_freqs=multi_freqs or (),
            multi_freqs_depth=multi_freqs_depth, dconv_mode=dconv_mode, dconv_depth=dconv_depth,
            dconv_comp=dconv_comp, dconv_attn=NEVER, dconv_lstm=NEVER, dconv_init=dconv_init)
        bottom = levels[-1]
        if t_layers and bottom.temporal is None:
            raise ValueError(f"depth={depth} is too deep: the transformer needs both branches at the bottom, and they "
                             f"have met above it; use a smaller depth")
        if t_layers and bottom.temporal.inner != bottom.spectral.inner:
            raise ValueError(f"the branches end with {bottom.spectral.inner} and {bottom.temporal.inner} channels, which "
                             f"the transformer cannot mix; leave channels_time empty (now {channels_time})")
        super().__init__(
            sources, audio_channels=audio_channels, samplerate=samplerate, segment=segment, view=view,
            representation=representation, levels=levels, fusion=Sum(),
            make_mixer=functools.partial(cross_domain, bottom=bottom_channels, spec=transformer),
            embedding=EmbeddingSpec(freq_emb, emb_scale, emb_smooth) if freq_emb else None,
            context=context, context_enc=context_enc, rescale=rescale)
        self.use_train_segment = use_train_segment

    @property
    def longest_segment(self) -> float:
        """A transformer knows no positions beyond the length that it was trained on."""
        return self.segment

    def input_length(self, length: int, segment: tp.Optional[float] = None) -> int:
        """As in `SeparationModel`. A transformer sees whole segments, of the length that was asked for."""
        if segment is None:
            return self.valid_length(length)
        known = int(segment * self.samplerate)
        if known < length:
            raise ValueError(f"{length} samples are more than a segment of {segment:g} s")
        return known

    def valid_length(self, length: int) -> int:
        """Samples that the model wants to see for `length` of them: the training length, where that is what it knows.

        Raises:
            ValueError: where that is shorter.
        """
        if not self.use_train_segment:
            return length
        known = int(self.segment * self.samplerate)
        if length > known:
            raise ValueError(f"{length} samples are more than the {known} ({float(self.segment):g} s) that this model was "
                             f"trained on; separate in segments of at most {float(self.segment):g} s")
        return known

    def forward(self, mix: torch.Tensor) -> torch.Tensor:
        """Estimates [B, S, A, L] of the sources in a mixture [B, A, L].

        Raises:
            ValueError: for a mixture longer than the training length, when not training.
        """
        length = mix.shape[-1]
        if self.training:
            return super().forward(mix)
        return super().forward(F.pad(mix, (0, self.valid_length(length) - length)))[..., :length]
