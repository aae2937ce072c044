"""Ranking of songs by their predicted quality, by one measure, or by the mean rank over several measures.

Measures have different units and ranges, so ranks are averaged (J.-C. de Borda's count, 1781), over the chosen measures
and over sources.
"""

import typing as tp

import numpy as np
from scipy.stats import rankdata

from ...errors import ConfigError, did_you_mean
from ...schema import QualityScores
from .measures import EVERY_MEASURE


class Place(tp.NamedTuple):
    """A song and its mean rank over measures and sources. Each rank is scaled to the range from 0 (worst song) to 1
    (best); a song that alone has a value gets 0.5. `value` is None if the song has no value in any measure."""
    name: str
    value: tp.Optional[float]


def require_measures(keys: tp.Iterable[str], available: tp.Collection[str]) -> None:
    """Check that all `keys` are measures, and that all are in `available`, those that were computed.

    Raises:
        ConfigError: for the first key of which one is not true.
    """
    for key in keys:
        if key not in EVERY_MEASURE:
            raise ConfigError(f"no measure is called {key!r}; there are: {', '.join(EVERY_MEASURE)}."
                              f"{did_you_mean(key, EVERY_MEASURE)}")
        if key not in available:
            raise ConfigError(f"{key} was not measured: it needs the {EVERY_MEASURE[key].needs}. There are: "
                              f"{', '.join(available)}")


def ranking(scores: QualityScores, by: tp.Sequence[str]) -> tp.List[Place]:
    """Songs of `scores`, the best first, by their mean rank in the measures `by` and over sources. Ties are in the
    order of names; songs without any value are last.

    Raises:
        ConfigError: if `by` is empty, or contains an unknown measure or one that was not measured.
    """
    if not by:
        raise ConfigError("songs are ranked by at least one measure")
    require_measures(by, scores.measures)
    ranks = []
    for key in by:
        for source in scores.sources:
            values = [track.values.get(source, {}).get(key) for track in scores.tracks]
            column = np.array([np.nan if value is None else value * EVERY_MEASURE[key].better for value in values])
            defined = np.isfinite(column)
            count = int(defined.sum())
            column[defined] = (rankdata(column[defined]) - 1) / max(1, count - 1) if count > 1 else 0.5
            ranks.append(column)
    table = np.array(ranks)
    counts = np.isfinite(table).sum(axis=0)
    means = np.divide(np.nansum(table, axis=0), counts, out=np.full(len(counts), np.nan), where=counts > 0)
    found = [Place(track.name, float(mean) if np.isfinite(mean) else None) for track, mean in zip(scores.tracks, means)]
    return sorted(found, key=lambda place: (place.value is None, -(place.value or 0.), place.name))
