"""Ranges of the numbers that say how a song is separated: of the command lines, the configuration, and callers."""

import typing as tp

from ..ranges import PROCESSES, SECONDS, SEED, Range

RANGES: tp.Dict[str, Range] = {
    "shifts": Range(0, 1000, whole=True), "overlap": Range(0, 1, open_most=True), "segment": SECONDS, "jobs": PROCESSES,
    "workers": PROCESSES, "seed": SEED, "transition_power": Range(1, 10_000),
}


def check(values: tp.Mapping[str, tp.Any]) -> None:
    """Raises ConfigError for a setting outside its range. A segment may be None, for the model's own; settings without a
    range pass."""
    for name, value in values.items():
        if name in RANGES and not (name == "segment" and value is None):
            RANGES[name].check(name, value)
