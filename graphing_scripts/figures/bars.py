"""Bar charts per source: scores of runs, reference separators and publications, and changes against a base run.

A figure shows one metric family, which is the label of its axis.
"""

from __future__ import annotations

import textwrap
import typing as tp

from records.scores import PUBLISHED, REFERENCE, RUN, Group, Row

from demucs.metrics.aggregates import ALL
from demucs.tables import typeset

from .style import Theme, heading, new_figure, source_color

if tp.TYPE_CHECKING:
    from demucs.metrics.statistics import Comparison    # imports scipy, which takes as long as drawing a figure

LABEL = 46         # characters per line of a row's name
HEADING = 62       # characters per line of a heading
FADED = (1., 0.62, 0.42, 0.28)   # opacity of the bars of the first, second, ... run


def score_bars(groups: tp.Sequence[Group], sources: tp.Sequence[str], title: str, theme: Theme) -> tp.Any:
    """Bar chart of scores: one panel per source and one for the mean over them, each with one horizontal bar per row.
    None without rows.

    All `groups` are of one family. `sources` is the order of the panels. Call within `themed(theme)`.
    """
    rows = [row for group in groups for row in group.rows]
    if not rows:
        return None
    lines: tp.List[tp.Union[str, Row]] = [item for group in groups for item in (group.heading, *group.rows)]
    heights = _places(lines)
    figure = new_figure(12, 2.05 + 0.30 * -heights[-1])
    kinds = {row.kind for row in rows}
    shown = {RUN: "coloured: measured here", REFERENCE: "grey: reference separators", PUBLISHED: "hatched: published"}
    columns = [*sources, *([ALL] if len(sources) > 1 else [])]
    low, high = _ends(rows, columns)
    cut = high + 0.26 * max(high - low, 0.5)
    longest = max((row.values.get(name) or 0. for row in rows if not row.comparable for name in columns), default=0.)
    keys = [text for kind, text in shown.items() if kind in kinds]
    keys += ["cut at the edge: longer than the scale of the measured scores"] if longest > cut else []
    heading(figure, title, ", ".join(keys), theme)
    figure.supxlabel(rows[0].family.label, fontsize=10)
    runs = [row for row in rows if row.kind == RUN]
    grid = figure.add_gridspec(1, len(columns))
    shared = None
    for column, source in enumerate(columns):
        axes = figure.add_subplot(grid[column], sharex=shared, sharey=shared)
        shared = shared or axes
        color = source_color(source, sources, theme)
        axes.set_title("mean" if source == ALL else source, color=color)
        for place, line in zip(heights, lines):
            if isinstance(line, Row):
                strength = FADED[min(runs.index(line), len(FADED) - 1)] if line.kind == RUN else 1.
                _bar(axes, place, line, source, color, strength, cut, theme)
        axes.axvline(0, color=theme.muted, linewidth=1)
        axes.tick_params(axis="y", length=0, labelleft=column == 0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", linewidth=0.7)
        axes.set_axisbelow(True)
    assert shared is not None
    shared.set_yticks(heights, [_name(line) for line in lines])
    for label, line in zip(shared.get_yticklabels(), lines):
        label.set_fontweight("bold" if isinstance(line, Row) and line.kind == RUN else "normal")
        label.set_color(theme.text if isinstance(line, Row) else theme.muted)
        label.set_fontstyle("normal" if isinstance(line, Row) else "italic")
    shared.set_ylim(heights[-1] - 0.9, 0.7)
    room = 0.64 if longest > high else 0.36      # for numbers
    shared.set_xlim(low - 0.04 * (high - low or 1.), high + room * max(high - low, 0.5))
    return figure


def _ends(rows: tp.Sequence[Row], columns: tp.Sequence[str]) -> tp.Tuple[float, float]:
    """Lower and upper end of the scale: zero and the scores of all comparable rows are within it."""
    numbers = [row.values.get(source) or 0. for row in rows if row.comparable for source in columns]
    return min(*numbers, 0., 0.), max(*numbers, 0., 0.)


def _places(lines: tp.Sequence[tp.Union[str, Row]]) -> tp.List[float]:
    """Vertical positions of the lines, from 0 down. There is more room for names of two lines and above a heading."""
    places: tp.List[float] = []
    before = 0.
    for line in lines:
        half = 0.75 if isinstance(line, str) else 0.3 + 0.25 * len(_name(line).splitlines())
        places.append(places[-1] - before - half if places else 0.)
        before = 0.45 if isinstance(line, str) else half
    return places


def _name(line: tp.Union[str, Row]) -> str:
    return textwrap.fill(line.label, LABEL) if isinstance(line, Row) else textwrap.fill(line, HEADING)


def _bar(axes: tp.Any, place: float, row: Row, source: str, color: str, strength: float, cut: float, theme: Theme
         ) -> None:
    """Draw one bar with its number. A bar of a row that is not comparable may extend over the edge of the axis; its
    number is then placed at `cut`."""
    value = row.values.get(source)
    if value is None:
        _beside(axes, 0, place, "undefined", color=theme.muted, fontsize=8)
        return
    look = {RUN: {"color": color, "alpha": strength}, REFERENCE: {"color": theme.muted, "alpha": 0.55},
            PUBLISHED: {"facecolor": "none", "edgecolor": theme.muted, "hatch": "////"}}[row.kind]
    axes.barh(place, value, height=0.62, linewidth=0.9, **look)
    end = value if row.comparable else min(value, cut)
    # the number of a negative bar is to the right of zero, since the names are to the left of the bar
    beyond = {"bbox": {"facecolor": theme.background, "edgecolor": "none", "pad": 1.2}} if end < value else {}
    _beside(axes, max(end, 0.), place, typeset(value), fontsize=9, fontweight="bold" if row.kind == RUN else "normal",
            **beyond)


def _beside(axes: tp.Any, value: float, place: float, words: str, **look: tp.Any) -> None:
    text = axes.annotate(words, (value, place), xytext=(4, 0), textcoords="offset points", va="center", **look)
    text.set_in_layout(False)   # the limits of the axis leave room for it


def _sampled(comparisons: tp.Sequence[Comparison]) -> str:
    """What the intervals treat as samples: "songs" or "songs and seeds"."""
    found = dict.fromkeys(each.over for item in comparisons for each in item.differences.values())
    return " or ".join(found)


def ablation_bars(comparisons: tp.Sequence[Comparison], sources: tp.Sequence[str], theme: Theme) -> tp.Any:
    """Bar chart of the change of each variant against a common base, one panel per source; None without comparisons.

    `comparisons` are variant minus base, all with the same base and family. Bars are opaque if the interval, drawn as a
    whisker, excludes zero, and pale otherwise. Call within `themed(theme)`.
    """
    if not comparisons:
        return None
    family, base = comparisons[0].family, comparisons[0].second
    assert all(item.second == base and item.family.key == family.key for item in comparisons)
    columns = [*sources, *([ALL] if len(sources) > 1 else [])]
    figure = new_figure(12, 1.75 + 0.42 * len(comparisons))
    level = next(iter(comparisons[0].differences.values())).interval.level
    heading(figure, f"What changes against {base}",
            f"paired by track; whiskers: {level:.0%} intervals over {_sampled(comparisons)}; pale: the interval "
            f"includes zero, not distinguishable from no change", theme)
    figure.supxlabel(f"change in {family.label}", fontsize=10)
    grid = figure.add_gridspec(1, len(columns))
    shared = None
    ends: tp.List[float] = [0.]
    for column, source in enumerate(columns):
        axes = figure.add_subplot(grid[column], sharex=shared, sharey=shared)
        shared = shared or axes
        color = source_color(source, sources, theme)
        axes.set_title("mean" if source == ALL else source, color=color)
        for place, comparison in enumerate(comparisons):
            found = comparison.differences.get(source)
            if found is None:
                _beside(axes, 0, -place, "too few tracks", color=theme.muted, fontsize=8)
                continue
            clear = found.verdict in ("better", "worse")
            axes.barh(-place, found.value, height=0.55, color=color, alpha=0.95 if clear else 0.35)
            axes.plot([found.interval.low, found.interval.high], [-place, -place], color=theme.text, linewidth=1.3)
            ends += [found.interval.low, found.interval.high]
            _beside(axes, max(found.interval.high, 0.), -place, typeset(found.value, plus=True), fontsize=9,
                    fontweight="bold" if clear else "normal")
        axes.axvline(0, color=theme.muted, linewidth=1)
        axes.tick_params(axis="y", length=0, labelleft=column == 0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", linewidth=0.7)
        axes.set_axisbelow(True)
    assert shared is not None
    shared.set_yticks([-place for place in range(len(comparisons))],
                      [textwrap.fill(item.first, LABEL) for item in comparisons])
    shared.set_ylim(0.6 - len(comparisons), 0.6)
    span = max(max(ends) - min(ends), 0.05)
    shared.set_xlim(min(ends) - 0.05 * span, max(ends) + 0.42 * span)
    return figure
