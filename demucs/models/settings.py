"""Allowed ranges of the hyper-parameters of models. A key has the same meaning in all models.

In addition, each model checks that its hyper-parameters are consistent with each other.
"""

import typing as tp

from ..errors import ConfigError
from ..ranges import CHANNELS, PROBABILITY, RATE, SECONDS, SEED, SHARE, WEIGHT, Allowed, Range, check_value, shown

WIDTH = Range(1, 65_536, whole=True)
WIDEST = 8192                                # channels of the innermost level; published models have 384 to 4096
LEVEL = Range(0, 1000, whole=True)           # 999 stands for none
ITERATIONS = Range(-1, 1000, whole=True)     # of the Wiener filter; < 0: no Wiener filter, only the mixture's phase
SAMPLES = Range(0, 10 ** 6, whole=True)
STEPS = Range(1, 1024, whole=True)
GROUPS = Range(0, 65_536, whole=True)
GAIN = Range(0, 1000)
SHIFT = Range(0, 10 ** 9)

RANGES: tp.Dict[str, Allowed] = {
    "audio_channels": CHANNELS, "samplerate": RATE, "segment": SECONDS,
    "channels": WIDTH, "channels_time": WIDTH, "growth": Range(0, 64, open_least=True),
    "depth": Range(1, 64, whole=True), "lstm_layers": Range(0, 64, whole=True), "nfft": Range(4, 2 ** 20, whole=True),
    "wiener_iters": ITERATIONS, "end_iters": ITERATIONS, "multi_freqs": SHARE, "multi_freqs_depth": LEVEL,
    "freq_emb": GAIN, "emb_scale": Range(0, 10 ** 6, open_least=True),
    "kernel_size": STEPS, "stride": STEPS, "time_stride": STEPS,
    "context": LEVEL, "context_enc": LEVEL, "norm_starts": LEVEL, "norm_groups": GROUPS,
    "dconv_mode": Range(0, 3, whole=True), "dconv_depth": Range(-64, 64, whole=True),      # negative: without dilation
    "dconv_comp": Range(0, 65_536, open_least=True), "dconv_attn": SAMPLES, "dconv_lstm": SAMPLES, "dconv_init": GAIN,
    "rescale": GAIN, "bottom_channels": Range(0, 65_536, whole=True), "t_layers": Range(0, 64, whole=True),
    "t_hidden_scale": Range(0, 1024, open_least=True), "t_heads": Range(1, 65_536, whole=True),
    "t_dropout": Range(0, 1, open_most=True), "t_max_positions": Range(1, 10 ** 7, whole=True),
    "t_max_period": Range(0, 10 ** 9, open_least=True), "t_weight_pos_embed": GAIN,
    "t_cape_glob_loc_scale": (SHIFT, SHIFT, Range(0, 1000, open_least=True)), "t_sin_random_shift": SAMPLES,
    "t_norm_in_group": GROUPS, "t_group_norm": GROUPS, "t_norm_out": GROUPS, "t_weight_decay": WEIGHT,
    "t_lr": Range(0, 1000, open_least=True), "t_mask_random_seed": SEED, "t_sparse_attn_window": SAMPLES,
    "t_global_window": SAMPLES, "t_sparsity": PROBABILITY,
    "hidden_size": WIDTH, "nb_layers": Range(1, 64, whole=True), "nhop": Range(1, 2 ** 20, whole=True),
    "bandwidth": Range(0, 10 ** 7), "niter": Range(0, 1000, whole=True), "wiener_win_len": SAMPLES,
}
COUNTS_OR_FLAGS = ("t_norm_in_group", "t_group_norm", "t_norm_out")      # true is one group


def check(hints: tp.Mapping[str, tp.Any], values: tp.Mapping[str, tp.Any], where: str = "") -> None:
    """Check settings of a model, {name: value}, against `RANGES`. Names without a range are ignored.

    Args:
        hints: types of the settings, which determine those that may be None.
        values: the settings.
        where: prefix of their names in messages.

    Raises:
        ConfigError: for a number outside its range, invalid sources, or channels that grow too many.
    """
    for key, value in values.items():
        if key == "sources":
            check_sources(where + key, value)
        elif key in RANGES and not (value is None and type(None) in tp.get_args(hints[key])):
            if not (key in COUNTS_OR_FLAGS and isinstance(value, bool)):
                check_value(where + key, value, RANGES[key])
    _check_width(values, where)


def _check_width(values: tp.Mapping[str, tp.Any], where: str) -> None:
    """Check the channels of the innermost level: they grow from level to level, so that small settings can exceed any
    memory."""
    growth, depth = values.get("growth"), values.get("depth")
    for key in ("channels", "channels_time"):
        channels = values.get(key)
        if channels and isinstance(growth, (list, tuple)):
            continue                  # one factor per step: the model itself checks their product
        if channels and growth and depth and channels * float(growth) ** (depth - 1) > WIDEST:
            raise ConfigError(f"{where}{key}={channels}, {where}growth={growth:g} and {where}depth={depth} make "
                              f"{channels * float(growth) ** (depth - 1):.3g} channels at the innermost level, and "
                              f"more than {WIDEST} fit into no memory; give smaller ones")


def check_sources(name: str, sources: tp.Any) -> None:
    """Check that `sources` is a list or tuple of at least one name, without repetition, and that each is a valid file
    name that does not begin with a dot. `name` is that of the setting in messages.

    Raises:
        ConfigError: if not.
    """
    if not isinstance(sources, (list, tuple)) or not sources:
        raise ConfigError(f"{name}={shown(sources)} must be a list of at least one name")
    for source in sources:
        if not isinstance(source, str) or not source or source.startswith(".") or set(source) & set("/\\\0"):
            raise ConfigError(f"{name}: {shown(source)} cannot be the name of a source, after which files are called; "
                              f"use letters and digits")
        if sources.count(source) > 1:
            raise ConfigError(f"{name}={shown(sources)} has {source!r} {sources.count(source)} times; name each source "
                              f"once")
