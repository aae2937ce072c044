"""Text tables of quality measures without references: ranked songs, and means over songs."""

import typing as tp

import numpy as np

from .. import tables
from ..metrics.quality.ranking import ranking
from ..schema import QualityScores

WIDTHS = (40, 7, 10)                         # column widths in characters: name of a song, its rank, a number


def table(scores: QualityScores, by: tp.Sequence[str]) -> str:
    """Text table of quality measures with one row per song, the best first: its name, its place (mean rank over the
    measures in `by`, from 0 to 1), and the value of each measure in `by` for each source."""
    tracks = {track.name: track for track in scores.tracks}
    rows = []
    for place in ranking(scores, by):
        values = [tracks[place.name].values[source].get(key) for key in by for source in scores.sources]
        rows.append([place.name[:WIDTHS[0]], tables.number(place.value),
                     *(tables.number(value, 1) for value in values)])
    above, share = "", sum(max(WIDTHS[-1], len(source) + 2) for source in scores.sources)
    for index, key in enumerate(by):
        above = f"{above.ljust(sum(WIDTHS[:2]) + index * share)}  {key}"
    return "\n".join([above, *tables.aligned(["song", "place", *scores.sources * len(by)], rows, least=WIDTHS)])


def summary(scores: QualityScores) -> str:
    """Text table of the means over songs, with one row per measure and one column per source. Songs without a value are
    left out of a mean."""
    rows = []
    for key, label in scores.measures.items():
        columns = [[track.values[source].get(key) for track in scores.tracks] for source in scores.sources]
        found = [[value for value in column if value is not None] for column in columns]
        means = [float(np.mean(column)) if column else None for column in found]
        rows.append([label[:WIDTHS[0]], "", *(tables.number(mean, 1) for mean in means)])
    return "\n".join(tables.aligned(["mean over songs", "", *scores.sources], rows, least=WIDTHS))
