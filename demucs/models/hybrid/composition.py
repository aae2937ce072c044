"""Branches, mixers and fusion of a hybrid model, made from its settings; see `settings` for their meaning."""

import dataclasses
import functools
import math
import typing as tp

from ...errors import did_you_mean
from ...layers.dconv import DConvSpec
from ...layers.transformer import TransformerSpec
from ...ranges import shown
from ..settings import WIDEST
from . import settings
from .branches import Branch, EmbeddingSpec, Row, scheduled_rows
from .fusion import ConvolutionFusion, Fusion, Sum, UNetFusion, WeightedFusion
from .mixer import Mixer, cross_domain
from .net import BOTTOM, MakeMixer
from .resolutions import ConvolvedResolutions, WeightedResolutions
from .settings import BranchSettings, FusionSettings, MixerSettings
from .view import ComplexAsChannels, SpectralView

DEFAULT = {"frequency": {"nfft": 4096}, "time": {}}      # branches of HTDemucs
# Settings that all branches may have in common.
LEVELS = tuple(field.name for field in dataclasses.fields(BranchSettings)
               if field.name not in ("channels", "growth", "depth", "nfft", "joins"))
FUSIONS = ("sum", "weights", "convolution", "unet")


def changed(row: tp.Any, given: tp.Any, where: str) -> tp.Any:
    """The section `row` of a variant with the changes in `given`, which is `where` in the settings: sections within it
    are changed in the same way, other values are replaced, and None takes an entry out. Without a row it is `given`.

    Raises:
        ValueError: if `given` is not a section.
    """
    if not row or given is None:
        return row or given
    result = dict(row)
    for key, value in settings.section(given, where).items():
        if isinstance(result.get(key), dict) and value is not None:
            value = changed(result[key], value, f"{where}.{key}")
        result[key] = value
        if value is None and key in row:
            del result[key]
    return result


def branches(sections: tp.Any, levels: tp.Any, common: tp.Mapping[str, tp.Any], *, audio_channels: int,
             as_published: bool) -> tp.List[Branch]:
    """Branches from their `sections` by name (None: those of HTDemucs).

    Modules have the names of published models: `encoder`, `decoder`, `freq_emb` for the only branch with a spectrogram,
    `encoders.0`, ... for one of several, and `tencoder`, `tdecoder` for those on the waveform.

    Args:
        sections: settings of each branch that differ from those of the others.
        levels: settings that all branches have in common.
        common: "channels", "growth" and "depth" of all branches.
        audio_channels: number of channels of the waveforms.
        as_published: see `SpectralView.early`.

    Raises:
        ValueError: for settings that are unknown, out of their range, or contradict each other.
    """
    shared = {**common, **settings.checked(BranchSettings, settings.section(levels, "levels"), "levels", LEVELS)}
    named = {name: BranchSettings(**{**shared, **settings.checked(
        BranchSettings, settings.section(section, f"branches.{name}"), f"branches.{name}")})
        for name, section in (settings.section(sections, "branches") or DEFAULT).items()}
    several = {spectral: [name for name, s in named.items() if (s.nfft is not None) == spectral]
               for spectral in (True, False)}
    made: tp.Dict[str, Branch] = {}
    for name, s in named.items():
        alike = several[s.nfft is not None]
        prefix, place = ("" if s.nfft else "t"), (f"s.{alike.index(name)}" if len(alike) > 1 else "")
        view = SpectralView(s.nfft, overlap=s.overlap, early=as_published and s.overlap == 2) if s.nfft else None
        rows = _rows(s, f"branches.{name}", view=view, outer=audio_channels)
        embedding = EmbeddingSpec(s.freq_emb, s.emb_scale, s.emb_smooth,
                                  f"freq_embeddings.{alike.index(name)}" if place else "freq_emb")
        if s.joins is not None:
            _check_join(name, s, rows, made)
        made[name] = Branch(name, f"{prefix}encoder{place}", f"{prefix}decoder{place}", rows, view,
                            ComplexAsChannels() if view else None, embedding if view and s.freq_emb else None, s.joins,
                            skips_mixed=s.mixed_skips)
    return list(made.values())


def _rows(s: BranchSettings, where: str, *, view: tp.Optional[SpectralView], outer: int) -> tp.List[Row]:
    channels = [s.channels]
    for factor in settings.per_level(s.growth, s.depth - 1, f"{where}.growth"):
        channels.append(int(factor * channels[-1]))
        if not 1 <= channels[-1] <= WIDEST:
            raise ValueError(f"{where}: channels={s.channels} and growth={shown(s.growth)} make {channels[-1]} "
                             f"channels at level {len(channels) - 1}; at least 1 and at most {WIDEST} are possible")
    for index, width in enumerate(channels):
        if index >= s.norm_starts and s.norm_groups and width % s.norm_groups:
            raise ValueError(f"{where}: level {index} has {width} channels, which norm_groups={s.norm_groups} does not "
                             f"divide; choose another, or a higher norm_starts (now {s.norm_starts})")
    kernels, strides, depths = (settings.per_level(getattr(s, key), s.depth, f"{where}.{key}")
                                for key in ("kernel_size", "stride", "dconv_depth"))
    paddings = [(kernel - stride) // 2 for kernel, stride in zip(kernels, strides)] if s.padding is None else \
        settings.per_level(s.padding, s.depth, f"{where}.padding")
    residual = [DConvSpec(depth, s.dconv_comp, s.dconv_init) if depth else None for depth in depths]
    down, up = (residual if s.dconv_mode & side else None for side in (1, 2))
    try:
        return scheduled_rows(
            axis="frequency" if view else "time", outer=outer * (ComplexAsChannels.channels_per_signal if view else 1),
            channels=channels, kernels=kernels, strides=strides, paddings=paddings, bins=view.bins if view else 0,
            norm_starts=s.norm_starts, norm_groups=s.norm_groups, rewrite=s.rewrite, down=down, up=up,
            merge=s.joins is not None)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _check_join(name: str, s: BranchSettings, rows: tp.Sequence[Row], made: tp.Mapping[str, Branch]) -> None:
    """Check that the branch `name` can join another one: equal channels and frame rates where one frequency is left.

    Raises:
        ValueError: if not.
    """
    where, other = f"branches.{name}.joins={shown(s.joins)}", made.get(tp.cast(str, s.joins))
    if s.nfft is not None or other is None or other.view is None:
        raise ValueError(f"{where}: a branch on the waveform joins one with a spectrogram (nfft) that stands before it")
    if any(branch.joins == s.joins for branch in made.values()):
        raise ValueError(f"{where}: another branch joins it already")
    level, steps = len(rows) - 1, math.prod(row.layer.stride for row in rows)
    theirs = other.rows[level] if level < len(other.rows) else None
    if theirs is None or theirs.layer.axis != "frequency" or theirs.bins_below != 1:
        raise ValueError(f"{where}: its level {level} must be the one that leaves a single frequency there")
    if steps != other.view.hop or theirs.layer.inner != rows[-1].layer.inner:
        raise ValueError(f"{where}: they meet with {rows[-1].layer.inner} and {theirs.layer.inner} channels, and with "
                         f"steps of {steps} and {other.view.hop} samples; both must be equal")


def shortest_input(made: tp.Sequence[Branch]) -> int:
    """Smallest number of samples that all levels of the branches can process."""
    def fits(length: int) -> bool:
        for branch in made:
            steps = length if branch.view is None else math.ceil(length / branch.view.hop)
            for row in branch.rows:
                if row.layer.axis == "time":
                    steps += -steps % row.layer.stride
                    steps = (steps + 2 * row.layer.padding - row.layer.kernel) // row.layer.stride + 1
                    if steps < 1:
                        return False
        return True
    least, most = 0, 1                       # `least` does not fit, `most` does
    while not fits(most):
        least, most = most, 2 * most
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if fits(middle) else (middle, most)
    return most


def mixers(sections: tp.Any, made: tp.Sequence[Branch], *, rescale: float, as_published: bool
           ) -> tp.Dict[str, MakeMixer]:
    """Factories of mixers by site, from their `sections` by name, for the branches `made`. `rescale` and `as_published`
    are those of the model.

    Raises:
        ValueError: for settings that are unknown, out of their range, or contradict each other.
    """
    found: tp.Dict[str, MakeMixer] = {}
    for name, section in settings.section(sections, "mixers").items():
        where, values = f"mixers.{name}", settings.section(section, f"mixers.{name}")
        if not name.isidentifier():
            raise ValueError(f"mixers: {shown(name)} cannot be the name of a module; use letters, digits and _")
        own = {key: value for key, value in values.items() if key not in settings.TRANSFORMER}
        known = (*(field.name for field in dataclasses.fields(MixerSettings)), *settings.TRANSFORMER)
        for key in own:
            if key not in known:
                raise ValueError(f"{where} has no setting {shown(key)}; there are: {', '.join(known)}."
                                 f"{did_you_mean(key, known)}")
        s = MixerSettings(**settings.checked(MixerSettings, own, where))
        spec = TransformerSpec(channels=0, **settings.checked(
            TransformerSpec, {key: value for key, value in values.items() if key not in own}, where,
            settings.TRANSFORMER))
        make = functools.partial(_mixer, name=name, s=s, spec=spec, branches=made, rescale=rescale,
                                 as_published=as_published)
        sites = (s.at,) if isinstance(s.at, str) else s.at
        for site in sites:
            if site in found:
                raise ValueError(f"{where}.at: there is another mixer at {site}")
            _check_site(where, site, s, spec, made)
            found[site] = make
    return found


def _check_site(where: str, site: str, s: MixerSettings, spec: TransformerSpec, made: tp.Sequence[Branch]) -> None:
    """Check that a mixer can process the branches at a site. Raises ValueError if not."""
    depth = max(len(branch.rows) for branch in made)
    side, _, level = site.partition(".")
    if site != BOTTOM and not (side in ("encoder", "decoder") and level.isdecimal() and int(level) < depth):
        raise ValueError(f"{where}.at: there is no place {shown(site)} for a mixer in {depth} levels; there are: "
                         f"{BOTTOM}, encoder.0 to encoder.{depth - 1} and decoder.0 to decoder.{depth - 1}")
    index = depth - 1 if site == BOTTOM else int(level)
    present = [branch for branch in made if branch.joins is None or index < len(branch.rows) - 1
               or len(branch.rows) == depth]
    inner = [branch.rows[min(index, len(branch.rows) - 1)].layer for branch in present]
    # After a level over time, the state of a branch with a spectrogram has no frequency axis.
    flat = [branch.name for branch, layer in zip(present, inner) if layer.axis == "time"]
    deep = [branch.name for branch in present if branch.name not in flat]
    if len({layer.inner for layer in inner}) > 1:
        raise ValueError(f"{where}: the branches at {site} have "
                         f"{', '.join(str(layer.inner) for layer in inner)} channels, and need equally many")
    if s.resolutions is not None:
        if s.resolutions == "convolution" and site != BOTTOM:
            raise ValueError(f"{where}.at: resolutions=convolution is for the site {BOTTOM}, got {site}")
        if len(deep) < 2 or present[0].name not in deep or len(flat) != (spec.pattern != "self"):
            raise ValueError(f"{where}.resolutions={s.resolutions}: it needs several branches with spectrograms and "
                             f"{'no' if spec.pattern == 'self' else 'one'} branch on the waveform at {site}, with "
                             f"pattern={spec.pattern}; there are: {', '.join(branch.name for branch in present)}")
    elif spec.pattern == "self":
        if len(present) != 1:
            raise ValueError(f"{where}: pattern=self is for a single branch, and at {site} there are: "
                             f"{', '.join(branch.name for branch in present)}")
    elif len(present) != 2 or present[0].name not in deep or present[1].name not in flat:
        raise ValueError(f"{where}: at {site} it needs a branch with a spectrogram and one on the waveform, in this "
                         f"order; there are: {', '.join(branch.name for branch in present)}. For several with "
                         f"spectrograms, set resolutions; for a single branch, pattern: self")


def _mixer(channels: int, *, name: str, s: MixerSettings, spec: TransformerSpec, branches: tp.Sequence[Branch],
           rescale: float, as_published: bool) -> Mixer:
    gates = s.gates
    if gates is True:
        gates = [f"{name}_gate"] if spec.pattern == "self" else [f"{name}_gate", f"{name}_gate_t"]
    if s.resolutions is not None and gates:
        raise ValueError(f"mixers.{name}: gates are for mixers without resolutions")
    count = 1 if spec.pattern == "self" else 2
    if gates and len(gates) != count:
        raise ValueError(f"mixers.{name}.gates={shown(list(gates))}: it needs {count} name{'s' * (count > 1)}")
    mixer = cross_domain(channels, bottom=s.bottom_channels, spec=spec, gates=gates or (), name=name,
                         unused=as_published)
    if s.resolutions is None or not spec.layers:
        return mixer
    spectral = [branch for branch in branches if branch.view is not None]
    if s.resolutions == "weights":
        return WeightedResolutions(mixer, len(spectral))
    if s.resolutions == "convolution":
        _check_odd(s.width, f"mixers.{name}.width")
        return ConvolvedResolutions(mixer, resolutions=len(spectral), channels=channels, width=s.width,
                                    bins=spectral[len(spectral) // 2].rows[-1].bins_below, as_published=as_published,
                                    rescale=rescale)
    raise ValueError(f"mixers.{name}.resolutions={shown(s.resolutions)} is unknown; use weights or convolution")


def fusion(section: tp.Any, made: tp.Sequence[Branch], *, sources: int, audio_channels: int, rescale: float,
           as_published: bool) -> Fusion:
    """Fusion from its `section`, for the branches `made`. Other arguments are those of the model.

    Raises:
        ValueError: for settings that are unknown, out of their range, or contradict each other.
    """
    s = FusionSettings(**settings.checked(FusionSettings, settings.section(section, "fusion"), "fusion"))
    names = [branch.name for branch in made if branch.view is not None]
    if s.kind not in FUSIONS:
        raise ValueError(f"fusion.kind={shown(s.kind)} is unknown; use one of {', '.join(FUSIONS)}."
                         f"{did_you_mean(s.kind, FUSIONS)}")
    if s.kind == "sum":
        return Sum()
    if not names:
        raise ValueError(f"fusion.kind={s.kind} combines branches with spectrograms, and there is none; use sum")
    if s.kind == "weights":
        return WeightedFusion(names, sources=sources, per_source=s.per_source)
    _check_odd(s.width, "fusion.width")
    common: tp.Dict[str, tp.Any] = {"sources": sources, "audio_channels": audio_channels, "width": s.width,
                                    "rescale": rescale}
    if s.kind == "convolution":
        return ConvolutionFusion(names, as_published=as_published, **common)
    if s.published_form not in ("gelu", "linear"):
        raise ValueError(f"fusion.published_form={shown(s.published_form)} is unknown; use gelu or linear")
    if s.channels * 2 ** (s.depth - 1) > WIDEST:
        raise ValueError(f"fusion.channels={s.channels} and fusion.depth={s.depth} make "
                         f"{s.channels * 2 ** (s.depth - 1)} channels; {WIDEST} are the most")
    return UNetFusion(names, channels=s.channels, depth=s.depth,
                      as_published=s.published_form if as_published else None, **common)


def _check_odd(width: int, name: str) -> None:
    """Raise ValueError for a kernel without a sample in its middle."""
    if not width % 2:
        raise ValueError(f"{name}={width} must be odd")
