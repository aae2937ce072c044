"""HTDemucs, the hybrid transformer Demucs (Rouard, Massa and Défossez 2022, arXiv:2211.08553), as a configuration of
`HybridNet`.

Its encoders and decoders are shallower than those of HDemucs and have no LSTM or attention. Instead, a cross-domain
transformer in the bottleneck processes the outputs of both encoders. It has all keys of the published configuration,
with the published defaults of the class; parameter names, shapes, order and seeded initial weights are those of
published Demucs.
"""

import dataclasses
import functools
import typing as tp

from ..layers.transformer import MaskSpec, TransformerSpec
from .hybrid.branches import NEVER, HybridSettings, published_branches
from .hybrid.fusion import Sum
from .hybrid.mixer import cross_domain
from .hybrid.segment import SegmentNet


@dataclasses.dataclass(frozen=True)
class TransformerSettings:
    """Hyper-parameters that HTDemucs has in addition to those of HDemucs, in the published order; documented in
    `HTDemucs`."""
    bottom_channels: int = 0
    t_layers: int = 5
    t_emb: str = "sin"
    t_hidden_scale: float = 4.0
    t_heads: int = 8
    t_dropout: float = 0.0
    t_max_positions: int = 10000
    t_norm_in: bool = True
    t_norm_in_group: int = False
    t_group_norm: int = False
    t_norm_first: bool = True
    t_norm_out: int = True
    t_max_period: float = 10000.0
    t_weight_decay: float = 0.0
    t_lr: tp.Optional[float] = None
    t_layer_scale: bool = True
    t_gelu: bool = True
    t_weight_pos_embed: float = 1.0
    t_sin_random_shift: int = 0
    t_cape_mean_normalize: bool = True
    t_cape_augment: bool = True
    t_cape_glob_loc_scale: tp.Sequence[float] = (5000.0, 1.0, 1.4)
    t_sparse_self_attn: bool = False
    t_sparse_cross_attn: bool = False
    t_mask_type: str = "diag"
    t_mask_random_seed: int = 42
    t_sparse_attn_window: int = 500
    t_global_window: int = 100
    t_sparsity: float = 0.95
    t_auto_sparsity: bool = False
    t_cross_first: bool = False


NOT_HERE = ("hybrid", "hybrid_old", "dconv_attn", "dconv_lstm")       # settings of HDemucs that HTDemucs lacks
DEFAULTS = {"depth": 4, "multi_freqs_depth": 3, "dconv_comp": 8, "dconv_init": 1e-3, "segment": 10}
LAST = ("rescale", "samplerate", "segment")


def _settings() -> type:
    """Dataclass of the arguments of HTDemucs in their published order: those of HDemucs, with those of the transformer
    inserted before the last ones."""
    hints = {**tp.get_type_hints(HybridSettings), **tp.get_type_hints(TransformerSettings)}
    common = {field.name: field.default for field in dataclasses.fields(HybridSettings) if field.name not in NOT_HERE}
    own = {field.name: field.default for field in dataclasses.fields(TransformerSettings)}
    last = {name: common.pop(name) for name in LAST}
    defaults = {**common, **own, **last, **DEFAULTS}
    fields = [(name, hints[name], dataclasses.field(default=defaults[name])) for name in (*common, *own, *last)]
    return dataclasses.make_dataclass("HTDemucsSettings", [*fields, ("use_train_segment", bool, True)], frozen=True)


def _hybrid_settings(s: tp.Any) -> HybridSettings:
    """The settings shared with HDemucs; the features that only HDemucs has are disabled."""
    common = {field.name: getattr(s, field.name) for field in dataclasses.fields(HybridSettings)
              if hasattr(s, field.name)}
    return HybridSettings(**common, dconv_attn=NEVER, dconv_lstm=NEVER)


def _transformer(s: tp.Any) -> TransformerSpec:
    """Specification of the transformer, with 0 channels, since their number follows from the encoders.

    Raises:
        ValueError: for an unknown sparsity pattern.
    """
    mask = MaskSpec(kinds=tuple(s.t_mask_type.split("_")), window=s.t_sparse_attn_window,
                    global_window=s.t_global_window, sparsity=s.t_sparsity, seed=s.t_mask_random_seed)
    mask.check()
    global_shift, local_shift, scale = s.t_cape_glob_loc_scale
    return TransformerSpec(
        channels=0, heads=s.t_heads, hidden_scale=s.t_hidden_scale, layers=s.t_layers,
        cross_first=s.t_cross_first, dropout=s.t_dropout, norm_in=s.t_norm_in,
        norm_in_group=int(s.t_norm_in_group), group_norm=int(s.t_group_norm), norm_first=s.t_norm_first,
        norm_out=int(s.t_norm_out), layer_scale=s.t_layer_scale, gelu=s.t_gelu, positions=s.t_emb,
        weight_positions=s.t_weight_pos_embed, max_positions=s.t_max_positions, max_period=s.t_max_period,
        random_shift=s.t_sin_random_shift, cape_centred=s.t_cape_mean_normalize,
        cape_augment=s.t_cape_augment, cape_bounds=(global_shift, local_shift, scale),
        weight_decay=s.t_weight_decay, lr=s.t_lr, sparse_self=mask if s.t_sparse_self_attn else None,
        sparse_cross=mask if s.t_sparse_cross_attn else None)


class HTDemucs(SegmentNet):
    """Hybrid transformer separation model, mixture [B, A, L] -> estimates [B, S, A, L].

    Args:
        sources to rescale, without those that begin with t_: see `HDemucs`.
        bottom_channels: channels of the transformer; 0 for the number of output channels of the encoders.
        t_layers to t_lr: see `layers.transformer.TransformerSpec`. t_norm_in_group, t_group_norm and t_norm_out are
            numbers of groups, where true is one.
        t_sparse_self_attn, t_sparse_cross_attn: fixed sparsity patterns for self-attention and cross-attention. They
            are named by `t_mask_type` ("diag_random", ...) and set by t_mask_random_seed, t_sparse_attn_window,
            t_global_window, t_sparsity; see `layers.sparsity`.
        t_auto_sparsity: sparsity patterns found by hashing. Its kernels were never released: with sparse attention it
            is refused, otherwise it has no effect.
        segment: seconds. With `use_train_segment` it is also the length of a training example, which limits the
            transformer: outside of training, shorter input is padded to it, and longer input is refused.

    Raises:
        ValueError: for settings that contradict each other; the message names them.
    """

    Settings = _settings()

    def __init__(self, sources: tp.Sequence[str], *args: tp.Any, **kwargs: tp.Any):
        s = self.Settings(*args, **kwargs)
        if s.wiener_iters != s.end_iters:
            raise ValueError(f"wiener_iters and end_iters must be equal, got {s.wiener_iters} and {s.end_iters}")
        if s.t_auto_sparsity and (s.t_sparse_self_attn or s.t_sparse_cross_attn):
            raise ValueError("t_auto_sparsity=true needs kernels that were never released; set it to false, and choose "
                             "a fixed pattern with t_mask_type")
        transformer = _transformer(s)
        branches = published_branches(_hybrid_settings(s))
        spectral, temporal = (branch.rows[-1].layer for branch in branches)
        if s.t_layers and len(branches[1].rows) < s.depth:
            raise ValueError(f"depth={s.depth} is too deep: the transformer needs both branches at the bottom, and "
                             f"they have met above it; use a smaller depth")
        if s.t_layers and temporal.inner != spectral.inner:
            raise ValueError(f"the branches end with {spectral.inner} and {temporal.inner} channels, which the "
                             f"transformer cannot mix; leave channels_time empty (now {s.channels_time})")
        super().__init__(
            sources, audio_channels=s.audio_channels, samplerate=s.samplerate, segment=s.segment, branches=branches,
            mixers={"bottom": functools.partial(cross_domain, bottom=s.bottom_channels, spec=transformer)},
            fusion=Sum(), context=s.context, context_enc=s.context_enc, rescale=s.rescale,
            use_train_segment=s.use_train_segment)
