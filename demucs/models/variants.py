"""The variants of HTDemucs by piusssss (github.com/piusssss/demucs_learn), as rows of numbers over the parts of
`Composed`.

Each row has the settings in which a variant differs from `ROW`. conf/models/htdemucs_variants.yaml has the same
numbers. By default models are mended: every parameter has an effect, silence gives silence, a fusion starts as the mean over
resolutions, and frames are aligned with the time branch. `as_published` builds what the author's code computes.
"""

import dataclasses
import typing as tp

from .composed import SECTIONS, Composed

Row = tp.Dict[str, tp.Any]
LEVELS: Row = {"kernel_size": 8, "stride": 4, "padding": None, "rewrite": True, "norm_starts": 4, "norm_groups": 4,
               "dconv_mode": 1, "dconv_depth": 2, "dconv_comp": 8, "dconv_init": 1e-3, "overlap": 4, "freq_emb": 0.2,
               "emb_scale": 10, "emb_smooth": True}
TRANSFORMER: Row = {"at": ["bottom"], "layers": 5, "heads": 8, "hidden_scale": 4.0, "kernel": "softmax",
                    "pattern": "alternating", "dropout": 0.0, "gates": []}
GATES = ["residual_weight_freq", "residual_weight_time"]
UNUSED = ("residual_weight_freq_1", "residual_weight_time_1", "residual_weight_freq_2", "residual_weight_time_2")


def _levels(**changes: tp.Any) -> Row:
    return {**LEVELS, **changes}


def _transformer(**changes: tp.Any) -> Row:
    return {**TRANSFORMER, **changes}


def _both(nfft: int, **time: tp.Any) -> Row:
    return {"frequency": {"nfft": nfft}, "time": time}


def _resolutions(*sizes: int, time: bool = True) -> Row:
    return {**{f"nfft_{size}": {"nfft": size} for size in sizes}, **({"time": {}} if time else {})}


THREE, FIVE = (2048, 4096, 8192), (1024, 2048, 4096, 8192, 16384)
SUM: Row = {"kind": "sum"}
CONVOLUTION: Row = {"kind": "convolution", "width": 129}
LINEAR = {"crosstransformer": _transformer(kernel="linear", resolutions="weights")}
ROW: Row = {"channels": 48, "growth": 2.0, "depth": 4, "levels": LEVELS, "branches": _both(4096), "mixers": {},
            "fusion": SUM, "rescale": 0.1, "as_published": False, "segment": 10}
OF_N: Row = {"channels": 24, "levels": _levels(freq_emb=0.3), "branches": _resolutions(*THREE), "mixers": LINEAR}

ROWS: tp.Dict[str, Row] = {
    "htdemucs_p": {
        "channels": 40, "depth": 6, "segment": 8,
        "branches": {"frequency": {"nfft": 4096, "kernel_size": [8, 8, 8, 8, 8, 4], "stride": [4, 4, 4, 4, 4, 2],
                                   "padding": [2, 2, 2, 2, 0, 1], "mixed_skips": True},
                     "time": {"depth": 5, "joins": "frequency"}},
        "mixers": {"crosstransformer": _transformer(at=["encoder.2", "decoder.2"], layers=1, pattern="cross"),
                   "mytransformer": _transformer(at=["encoder.4", "decoder.4"], layers=3, pattern="self")}},
    "htdemucs_i": {
        "channels": 148, "growth": [2, 2, 1, 1, 1], "depth": 6, "rescale": 0.2, "segment": 4,
        "levels": _levels(kernel_size=16, stride=8, norm_starts=2, dconv_depth=3, dconv_init=0.05, overlap=2),
        "branches": {"frequency": {"nfft": 8192, "kernel_size": [16, 16, 16, 8, 4, 4], "stride": [8, 8, 8, 8, 1, 1],
                                   "padding": [4, 4, 4, 0, 1, 1], "dconv_depth": [3, 3, 3, 3, 5, 5],
                                   "mixed_skips": True},
                     "time": {"growth": [2, 2, 1], "depth": 4, "kernel_size": [16, 16, 16, 8], "joins": "frequency"}},
        "mixers": {
            "crosstransformer_en": _transformer(at=["encoder.2"], layers=2, hidden_scale=2.0, pattern="cross",
                                                gates=["residual_weight_cross_en", "residual_weight_cross_en_t"]),
            "mytransformer_en": _transformer(at=["encoder.4"], layers=2, heads=16, hidden_scale=2.0, pattern="self",
                                             gates=["residual_weight_2en"]),
            "mytransformer_de": _transformer(at=["decoder.4"], layers=2, heads=16, hidden_scale=2.0, pattern="self",
                                             gates=["residual_weight_2de"]),
            "crosstransformer_de": _transformer(at=["decoder.2"], layers=2, hidden_scale=2.0, pattern="cross",
                                                gates=["residual_weight_cross_de", "residual_weight_cross_de_t"])}},
    "htdemucs_c": {
        "channels": 38, "depth": 6, "levels": _levels(kernel_size=16, overlap=8),
        "branches": {"frequency": {"nfft": 8192, "kernel_size": [16, 16, 16, 16, 16, 4], "stride": [4, 4, 4, 4, 4, 2],
                                   "padding": [6, 6, 6, 6, 0, 1]},
                     "time": {"depth": 5, "joins": "frequency"}}},
    "htdemucs_s": {
        "channels": 96, "depth": 3, "levels": _levels(kernel_size=16, stride=8, norm_starts=3, overlap=8),
        "branches": _both(8192),
        "mixers": {"crosstransformer": _transformer(layers=3, hidden_scale=10.0, gates=GATES)}},
    "htdemucs_d": {
        "channels": 128, "growth": [2, 1, 1, 1, 2], "depth": 6, "rescale": 0.2, "segment": 4,
        "levels": _levels(kernel_size=[16, 8, 8, 4, 4, 2], stride=[8, 4, 4, 2, 2, 1], dconv_init=0.01),
        "branches": _both(8192),
        "mixers": {"crosstransformer": _transformer(layers=3, heads=4, hidden_scale=2.0, gates=GATES)}},
    "htdemucs_d2": {
        "channels": 108, "growth": [2, 1, 2, 1, 2], "depth": 6, "rescale": 0.15,
        "levels": _levels(kernel_size=[16, 8, 8, 4, 4, 4], stride=[8, 4, 4, 2, 2, 2], dconv_init=0.003),
        "branches": _both(8192),
        "mixers": {"crosstransformer": _transformer(layers=3, hidden_scale=1.0, gates=GATES)}},
    "htdemucs_d3": {
        "channels": 24, "growth": [2.5, 2, 2, 1.5], "depth": 5, "rescale": 0.15,
        "levels": _levels(kernel_size=[32, 32, 16, 16, 8], stride=[4, 4, 2, 2, 2], norm_starts=999, dconv_init=0.003,
                          overlap=8),
        "branches": _both(8192)},
    "htdemucs_d4": {
        "channels": 64, "growth": [1.5, 1.5, 1.5, 2], "depth": 5,
        "levels": _levels(kernel_size=[8, 8, 16, 16, 32], norm_starts=5, overlap=8), "branches": _both(8192),
        "mixers": {"crosstransformer": _transformer(layers=3, hidden_scale=1.0, gates=GATES)}},
    "htdemucs_n": {**OF_N, "fusion": CONVOLUTION},
    "htdemucs_nn": {**OF_N, "fusion": {"kind": "weights", "per_source": True}},
    "htdemucs_nn_conv": {
        **OF_N, "levels": _levels(norm_starts=3, freq_emb=0.3), "fusion": CONVOLUTION,
        "mixers": {"crosstransformer": _transformer(kernel="linear", resolutions="convolution", width=129)}},
    "htdemucs_nc": {
        "channels": 24, "depth": 7, "levels": _levels(stride=2, rewrite=False, dconv_mode=3), "branches": {"time": {}}},
    "htdemucs_nf": {
        "levels": _levels(norm_starts=3, dconv_mode=0, freq_emb=0.3), "branches": _resolutions(*FIVE, time=False),
        "fusion": CONVOLUTION},
    "htdemucs_dnf": {
        "channels": 16, "levels": _levels(dconv_mode=0, freq_emb=0.3), "branches": _resolutions(*FIVE, time=False),
        "fusion": {"kind": "unet", "channels": 64, "depth": 2, "width": 17, "published_form": "linear"}},
    "htdemucs_dn": {
        **OF_N, "levels": _levels(norm_starts=3, freq_emb=0.3),
        "fusion": {"kind": "unet", "channels": 24, "depth": 2, "width": 17, "published_form": "gelu"}},
}
WITH_UNUSED = {"htdemucs_d": UNUSED, "htdemucs_d2": UNUSED, "htdemucs_d3": (*GATES, *UNUSED), "htdemucs_d4": UNUSED}


def _variant(name: str) -> tp.Type[Composed]:
    """Class of the variant `name`, a `Composed` with its row: its numbers are defaults of the settings, and its
    sections are those that settings change."""
    row = {**ROW, **ROWS[name]}
    fields = []
    for field in dataclasses.fields(Composed.Settings):
        value = field.default if field.name in SECTIONS else row.get(field.name, field.default)
        default: tp.Any = dataclasses.field(default_factory=value.copy) if isinstance(value, list) else \
            dataclasses.field(default=value)
        fields.append((field.name, field.type, default))

    def __init__(self: Composed, sources: tp.Sequence[str], *args: tp.Any, **kwargs: tp.Any) -> None:
        Composed.__init__(self, sources, *args, **kwargs)
    return type(name, (Composed,), {
        "__init__": __init__, "__doc__": f"The variant {name} of HTDemucs; see `Composed`.", "__module__": __name__,
        "Settings": dataclasses.make_dataclass(f"{name}_settings", fields, frozen=True),
        "row": {key: row[key] for key in SECTIONS}, "unused": WITH_UNUSED.get(name, ())})


VARIANTS: tp.Dict[str, tp.Type[Composed]] = {name: _variant(name) for name in ROWS}
globals().update(VARIANTS)              # so that instances can be pickled
