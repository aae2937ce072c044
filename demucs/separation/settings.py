"""Allowed ranges of the numeric settings of a separation, for command lines, configuration and callers."""

import typing as tp

from ..ranges import PROCESSES, SECONDS, SEED, Range

RANGES: tp.Dict[str, Range] = {
    "shifts": Range(0, 1000, whole=True), "overlap": Range(0, 1, open_most=True), "segment": SECONDS, "jobs": PROCESSES,
    "workers": PROCESSES, "seed": SEED, "transition_power": Range(1, 10_000),
    "batch": Range(1, 4096, whole=True),
}


def check(values: tp.Mapping[str, tp.Any]) -> None:
    """Check of settings by name against their ranges, `RANGES`. `segment` may be None, which means that of the model,
    and `batch`, which means what fits into memory.
    Names without a range are ignored.

    Raises:
        ConfigError: for the first value outside its range.
    """
    for name, value in values.items():
        if name in RANGES and not (name in ("segment", "batch") and value is None):
            RANGES[name].check(name, value)
