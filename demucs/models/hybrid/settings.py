"""Settings of branches, mixers and fusion as they are in a YAML file, and their allowed values."""

import dataclasses
import types
import typing as tp

from ...errors import ConfigError, did_you_mean
from ...layers.transformer import TransformerSpec
from ...ranges import Allowed, Range, check_value, shown
from ..settings import RANGES as MODEL_RANGES
from .branches import NEVER

PerLevel = tp.Union[int, tp.Sequence[int]]      # one number for all levels, or one per level
PARTS = 64                                      # maximum number of branches, and of mixers
Kind = tp.TypeVar("Kind")


@dataclasses.dataclass(frozen=True)
class BranchSettings:
    """Settings of a branch. Those of the model are defaults of all branches, and so are those in its section `levels`.

    Attributes:
        channels, growth, depth: channels of the first level, their factor from one level to the next (or one per step),
            and the number of levels.
        kernel_size, stride, padding: of the strided convolutions, one number or one per level. The default of `padding`
            is (kernel_size - stride) / 2, which divides the length by the stride.
        rewrite: use the 1x1 convolution with GLU in each block.
        norm_starts, norm_groups: first level (from 0) with group normalisation, and its number of groups.
        dconv_mode: residual branches in the encoder (1), the decoder (2), both (3) or neither (0).
        dconv_depth, dconv_comp, dconv_init: layers (one number or one per level), compression and initial gain of the
            residual branches.
        nfft: window length of the spectrogram in samples; None: the input is the waveform.
        overlap: windows that cover a sample; the hop is nfft / overlap.
        freq_emb, emb_scale, emb_smooth: frequency embedding (0: none); see `FrequencyEmbedding`.
        joins: of a branch on the waveform, the branch with a spectrogram that its innermost level is added to, where
            that has a single frequency left; the levels after it are shared, and convolve over time.
        mixed_skips: skip connections at a level with a mixer come after it instead of before it.
    """
    channels: int = 48
    growth: tp.Union[float, tp.Sequence[float]] = 2.
    depth: int = 4
    kernel_size: PerLevel = 8
    stride: PerLevel = 4
    padding: tp.Optional[PerLevel] = None
    rewrite: bool = True
    norm_starts: int = NEVER
    norm_groups: int = 4
    dconv_mode: int = 1
    dconv_depth: PerLevel = 2
    dconv_comp: float = 8.
    dconv_init: float = 1e-3
    nfft: tp.Optional[int] = None
    overlap: int = 4
    freq_emb: float = 0.2
    emb_scale: float = 10.
    emb_smooth: bool = True
    joins: tp.Optional[str] = None
    mixed_skips: bool = False


@dataclasses.dataclass(frozen=True)
class MixerSettings:
    """Settings of a mixer, a transformer between levels or in the bottleneck, except for those of `TransformerSpec`,
    which it has as well.

    Attributes:
        at: its sites: "bottom", "encoder.K" after the encoders of level K, or "decoder.K" before the decoders of it.
            At several sites it is the same module.
        bottom_channels: channels of the transformer; 0 for those of the branches.
        gates: names of the scalars of learned gates, one per branch (see `Gated`); true for names after the mixer.
        resolutions: how several branches with spectrograms are combined for it: "weights" (`WeightedResolutions`) or
            "convolution" (`ConvolvedResolutions`, with a kernel of `width` frames); None: they are not.
    """
    at: tp.Union[str, tp.Sequence[str]] = ("bottom",)
    bottom_channels: int = 0
    gates: tp.Union[bool, tp.Sequence[str]] = False
    resolutions: tp.Optional[str] = None
    width: int = 129


@dataclasses.dataclass(frozen=True)
class FusionSettings:
    """Settings of the combination of the estimates of all branches.

    Attributes:
        kind: "sum", or for several branches with spectrograms "weights" (`WeightedFusion`), "convolution"
            (`ConvolutionFusion`) or "unet" (`UNetFusion`), whose result is added to the estimates of other branches.
        per_source: of "weights": weights of their own for each source.
        width: of "convolution" and "unet": kernel size in samples.
        channels, depth: of "unet".
        published_form: of "unet": "gelu" or "linear", see `UNetFusion`.
    """
    kind: str = "sum"
    per_source: bool = True
    width: int = 129
    channels: int = 24
    depth: int = 2
    published_form: str = "gelu"


WIDTH = Range(1, 65_535, whole=True)
RANGES: tp.Dict[str, Allowed] = {
    **{key: MODEL_RANGES[key] for key in (
        "channels", "growth", "depth", "kernel_size", "stride", "norm_starts", "norm_groups", "dconv_mode",
        "dconv_depth", "dconv_comp", "dconv_init", "nfft", "freq_emb", "emb_scale", "bottom_channels")},
    **{key[2:]: MODEL_RANGES[key] for key in (
        "t_layers", "t_hidden_scale", "t_heads", "t_dropout", "t_max_positions", "t_max_period", "t_norm_in_group",
        "t_group_norm", "t_norm_out", "t_weight_decay", "t_lr")},
    "weight_positions": MODEL_RANGES["t_weight_pos_embed"], "random_shift": MODEL_RANGES["t_sin_random_shift"],
    "cape_bounds": MODEL_RANGES["t_cape_glob_loc_scale"],
    "padding": Range(0, 1024, whole=True), "overlap": Range(2, 1024, whole=True), "width": WIDTH,
}
TRANSFORMER = tuple(field.name for field in dataclasses.fields(TransformerSpec)
                    if field.name not in ("channels", "sparse_self", "sparse_cross"))


def section(value: tp.Any, where: str) -> tp.Dict[str, tp.Any]:
    """The section `where` of the settings as a dictionary with names as keys; {} if it is empty.

    Raises:
        ValueError: if it is none.
    """
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"{where}={shown(value)} must be a section, {{NAME: VALUE, ...}}")
    if len(value) > PARTS:
        raise ValueError(f"{where} has {len(value)} entries; {PARTS} are the most")
    return value


def checked(kind: type, values: tp.Mapping[str, tp.Any], where: str, only: tp.Optional[tp.Collection[str]] = None
            ) -> tp.Dict[str, tp.Any]:
    """`values` of the section `where`, checked to be fields of the dataclass `kind` (of those in `only`, if given), of
    its types and within their ranges. Lists become tuples.

    Raises:
        ValueError: for the first that is not, with its name and value.
    """
    hints = {key: hint for key, hint in tp.get_type_hints(kind).items() if only is None or key in only}
    result = {}
    for key, value in values.items():
        if key not in hints:
            raise ValueError(f"{where} has no setting {shown(key)}; there are: {', '.join(hints)}."
                             f"{did_you_mean(key, hints)}")
        result[key] = _checked(hints[key], value, f"{where}.{key}", RANGES.get(key))
    return result


def _checked(hint: tp.Any, value: tp.Any, name: str, allowed: tp.Optional[Allowed]) -> tp.Any:
    options = tp.get_args(hint) if tp.get_origin(hint) in (tp.Union, types.UnionType) else (hint,)
    listed = any(tp.get_origin(option) is not None for option in options)
    if value is None and type(None) in options:
        return None
    if isinstance(value, (list, tuple)):
        value = tuple(value)
        if not listed:
            raise ValueError(f"{name}={shown(list(value))} must be one value")
        if allowed is None and not all(isinstance(item, str) for item in value):
            raise ValueError(f"{name}={shown(list(value))} must be a list of texts")
    elif isinstance(value, bool) or value is None or allowed is None:
        kinds = tuple(option for option in options if option in (bool, str))
        if not isinstance(value, kinds):
            words = " or ".join({bool: "true or false", str: "a text"}[kind] for kind in kinds)
            raise ValueError(f"{name}={shown(value)} must be {words or 'a list' if allowed is None else 'a number'}")
        return value
    if allowed is not None:
        try:
            check_value(name, value, allowed)
        except ConfigError as error:
            raise ValueError(str(error)) from None
    return value


def per_level(value: tp.Any, count: int, name: str) -> tp.List[tp.Any]:
    """A list of `count` numbers from the setting `name`: itself, or as often as needed.

    Raises:
        ValueError: for a list of another length.
    """
    if not isinstance(value, (list, tuple)):
        return count * [value]
    if len(value) != count:
        raise ValueError(f"{name}={shown(list(value))} has {len(value)} numbers, and needs {count}; a single one is "
                         f"for all levels")
    return list(value)
