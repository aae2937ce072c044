"""Forest plot: paired differences between runs with their intervals and verdicts, one line per source and comparison.

A mark is filled if the interval excludes zero, that is, if the verdict is better or worse
(`demucs.metrics.statistics.verdict`). A grey band is the range of aggregates over seeds of the base configuration.
"""

import typing as tp

from demucs.metrics.aggregates import ALL, one_family
from demucs.metrics.statistics import UNCLEAR, Comparison, Difference, SeedSpread
from demucs.tables import interval_ends, true_minus, typeset

from .style import Theme, heading, new_figure, source_color

COLUMNS = (("difference and interval", 0.), ("won, lost, tied", 2.05), ("by the interval", 3.2))   # and inches
PLOT, TABLE = 4.6, 5.2         # widths in inches
LONGEST = 34                   # characters of a name


def forest_plot(comparisons: tp.Sequence[Comparison], theme: Theme,
                spread: tp.Optional[tp.Mapping[str, SeedSpread]] = None) -> tp.Any:
    """Forest plot of paired differences, with a row for each source (and their mean) and comparison. Call within
    `themed(theme)`.

    All `comparisons`, at least one, have the same second evaluation, the base. `spread` is the spread over seeds of the
    base, per source. Raises FamilyError if they are of different families.
    """
    spread = spread or {}
    family = one_family([*comparisons, *spread.values()], where="a forest plot")
    sources = list(dict.fromkeys(source for item in comparisons for source in item.differences if source != ALL))
    several = len(comparisons) > 1
    rows = _rows(comparisons, sources)
    labels = [_short(row.item.first) if several and row.item else _source(row.source) for row in rows]
    figure = new_figure(PLOT + TABLE + 0.085 * max(map(len, labels)), 1.75 + 0.36 * -rows[-1].place)
    _head(figure, comparisons, bool(spread), theme)
    axes, table = figure.subplots(1, 2, width_ratios=[PLOT, TABLE])
    axes.axvline(0, color=theme.text, linewidth=1)
    for row in rows:
        if row.item is not None:
            found = row.item.differences[row.source]
            seeds = spread.get(row.source)
            if seeds is not None:
                axes.barh(row.place, 2 * seeds.range, left=-seeds.range, height=0.72, color=theme.grid, zorder=0)
            _mark(axes, row.place, found, source_color(row.source, sources, theme), theme)
            _words(table, row.place, found, seeds, theme)
    for words, place in COLUMNS:
        table.text(place, 0.85, words, color=theme.muted, fontsize=9, va="center")
    axes.set_yticks([row.place for row in rows], labels)
    for label, row in zip(axes.get_yticklabels(), rows):
        named = not several or row.item is None
        label.set_color(source_color(row.source, sources, theme) if named else theme.text)
        label.set_fontweight("bold" if named else "normal")
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, -0.1), max(high, 0.1))
    axes.set_xlabel(f"Paired difference in {family.label}", loc="left")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", linewidth=0.7)
    axes.set_axisbelow(True)
    for each in (axes, table):
        each.set_ylim(rows[-1].place - 0.6, 1.1)
        each.spines["left"].set_visible(False)
    table.set_xlim(0, TABLE)
    table.set_axis_off()
    return figure


class _Row(tp.NamedTuple):
    """A line of the plot at the height `place`. Without `item` it is a heading: the source of the lines below it."""
    place: float
    source: str
    item: tp.Optional[Comparison]


def _rows(comparisons: tp.Sequence[Comparison], sources: tp.Sequence[str]) -> tp.List[_Row]:
    """All lines of the plot, from height 0 down, with gaps between sources."""
    rows: tp.List[_Row] = []
    place = 0.
    for source in [*sources, ALL]:
        items: tp.List[tp.Optional[Comparison]] = [item for item in comparisons if source in item.differences]
        for item in ([None, *items] if len(comparisons) > 1 and items else items):
            rows.append(_Row(place=place, source=source, item=item))
            place -= 0.8
        place -= 0.25
    return rows


def _head(figure: tp.Any, comparisons: tp.Sequence[Comparison], seeds: bool, theme: Theme) -> None:
    first, base = comparisons[0].first, comparisons[0].second
    level = next(iter(comparisons[0].differences.values())).interval.level
    tracks = " or ".join(str(count) for count in dict.fromkeys(item.tracks for item in comparisons))
    over = " or ".join(dict.fromkeys(each.over for item in comparisons for each in item.differences.values()))
    told = [f"right of zero: better than {_short(base)}", f"{tracks} paired tracks",
            f"{level:.0%} intervals over {over}", "filled where they exclude zero",
            "grey: range over seeds" if seeds else ""]
    heading(figure, f"{_short(first) if len(comparisons) == 1 else 'Runs'} minus {_short(base)}",
            ", ".join(filter(None, told)), theme)


def _source(source: str) -> str:
    return "mean over sources" if source == ALL else source


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[:LONGEST - 3]}..."


def _mark(axes: tp.Any, place: float, difference: Difference, color: str, theme: Theme) -> None:
    interval = difference.interval
    axes.plot([interval.low, interval.high], [place, place], color=color, linewidth=2.2, solid_capstyle="butt")
    clear = difference.verdict != UNCLEAR
    axes.plot(difference.value, place, marker="D" if difference.source == ALL else "o", markersize=8, color=color,
              markerfacecolor=color if clear else theme.background, markeredgewidth=1.8)


def _words(table: tp.Any, place: float, difference: Difference, seeds: tp.Optional[SeedSpread], theme: Theme) -> None:
    interval = difference.interval
    value = typeset(difference.value, plus=True)
    low, high = map(true_minus, interval_ends(interval.low, interval.high))
    told = difference.verdict
    if (told != UNCLEAR and difference.seeds == (1, 1) and seeds is not None
            and abs(difference.of_aggregates) <= seeds.range):
        told += ", within seeds"
    words = (f"{value}   [{low}, {high}]", f"{difference.won}, {difference.lost}, {difference.tied}", told)
    for text, (_, column) in zip(words, COLUMNS):
        table.text(column, place, text, va="center", fontsize=9.5,
                   color=theme.muted if text == UNCLEAR else theme.text)
