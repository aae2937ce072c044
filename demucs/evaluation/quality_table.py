"""Measures without references as text for the screen: songs in their order, and means over songs."""

import typing as tp

import numpy as np

from ..metrics.quality.ranking import ranking
from ..schema import QualityScores

WIDTH, CELL = 40, 10                         # characters of a song's name and of a number


def table(scores: QualityScores, by: tp.Sequence[str]) -> str:
    """Songs down, the best first, with their mean place from 0 to 1; measures `by` of each source across."""
    columns = [(key, source) for key in by for source in scores.sources]
    heads = [key if source == scores.sources[0] else "" for key, source in columns]
    lines = [_line("", "", heads, "<"), _line("song", "place", [source for _, source in columns])]
    tracks = {track.name: track for track in scores.tracks}
    for place in ranking(scores, by):
        values = [tracks[place.name].values[source].get(key) for key, source in columns]
        lines.append(_line(place.name, _number(place.value, 2), [_number(value, 1) for value in values]))
    return "\n".join(lines)


def summary(scores: QualityScores) -> str:
    """Mean over songs of every measure, sources across."""
    lines = [_line("mean over songs", "", scores.sources)]
    for key, label in scores.measures.items():
        columns = [[track.values[source].get(key) for track in scores.tracks] for source in scores.sources]
        found = [[value for value in column if value is not None] for column in columns]
        lines.append(_line(label, "", [_number(float(np.mean(column)) if column else None, 1) for column in found]))
    return "\n".join(lines)


def _line(name: str, place: str, cells: tp.Sequence[str], align: str = ">") -> str:
    """Cells under `name`; what is aligned to the left may be wider than a cell, up to the next one that is not
    empty."""
    text = f"{name[:WIDTH]:<{WIDTH}}{place:>7}"
    for number, cell in enumerate(cells):
        text = f"{text:<{WIDTH + 7 + CELL * number}}"
        text += f"  {cell}" if align == "<" and cell else f"{cell:>{CELL}}" if align == ">" else ""
    return text.rstrip()


def _number(value: tp.Optional[float], decimals: int) -> str:
    return "-" if value is None else f"{round(value, decimals) + 0.:.{decimals}f}"
