"""Plots of scores per track: their distribution, and two evaluations of the same tracks against each other."""

from __future__ import annotations

import typing as tp

import numpy as np
from matplotlib.ticker import MaxNLocator
from records.readers import Run
from records.tracks import doubtful, per_track

from demucs.metrics.aggregates import Family, track_values
from demucs.schema import Evaluation
from demucs.tables import counted, typeset

from .style import Theme, heading, new_figure, source_color

if tp.TYPE_CHECKING:
    from demucs.metrics.statistics import Comparison    # imports scipy, which takes as long as drawing a figure

ENOUGH = 5          # minimum number of points of a box plot
MANY = 20           # minimum number of points of a violin plot


def track_spread(run: Run, metric: str, theme: Theme) -> tp.Any:
    """Figure of the distribution of a run's scores in `metric`: one point per track and source, over a box plot and a
    violin plot if there are enough tracks. None without such scores. Call within `themed(theme)`."""
    evaluation = run.evaluation
    if evaluation is None:
        return None
    values = {source: track_values(evaluation.tracks, source, metric) for source in evaluation.sources}
    if not any(values.values()):
        return None
    figure = new_figure(9, 4.9)
    unsure = doubtful(evaluation, metric)
    heading(figure, f"Scores of {run.name}, track by track",
            f"{evaluation.dataset}, {counted(len(evaluation.tracks), 'track')}: one point each, their median as a line"
            + (f"; {len(unsure)} hollow points depend on rounding errors" if unsure else ""), theme)
    axes = figure.add_subplot()
    for place, (source, scores) in enumerate(values.items()):
        color = source_color(source, evaluation.sources, theme)
        if not scores:
            continue
        _outline(axes, place, scores, color, theme)
        hollow = [track.name in unsure for track in evaluation.tracks
                  if track_values([track], source, metric)]
        axes.scatter(place + _aside(scores), scores, s=26, zorder=3, linewidths=1.2,
                     facecolors=["none" if empty else color for empty in hollow], edgecolors=color)
        median = float(np.median(scores))
        axes.plot([place - 0.25, place + 0.25], [median, median], color=theme.text, linewidth=2.4, zorder=4)
    axes.set_xticks(range(len(values)), [f"{source} ({len(scores)})" for source, scores in values.items()])
    axes.tick_params(axis="x", length=0, labelsize=10)
    axes.set_xlim(-0.6, len(values) - 0.4)
    axes.set_ylabel(per_track(metric))
    axes.grid(axis="y", linewidth=0.7)
    axes.set_axisbelow(True)
    return figure


def _outline(axes: tp.Any, place: int, scores: tp.Sequence[float], color: str, theme: Theme) -> None:
    if len(scores) >= MANY and np.ptp(scores) > 0:
        made = axes.violinplot([scores], positions=[place], widths=0.8, showextrema=False)
        for body in made["bodies"]:
            body.set(facecolor=color, edgecolor="none", alpha=0.18)
    if len(scores) >= ENOUGH:
        axes.boxplot([scores], positions=[place], widths=0.5, showfliers=False, manage_ticks=False,
                     boxprops={"color": theme.muted}, whiskerprops={"color": theme.muted},
                     capprops={"color": theme.muted}, medianprops={"color": theme.muted, "linewidth": 1})


def _aside(scores: tp.Sequence[float]) -> tp.Any:
    """Horizontal offsets that separate points with close scores. They depend only on ranks, so figures are
    reproducible."""
    ranks = np.argsort(np.argsort(scores))
    return ((ranks * 0.618034) % 1 - 0.5) * (0.36 if len(scores) >= ENOUGH else 0.2)


def paired_scatter(first: Evaluation, second: Evaluation, comparison: Comparison, theme: Theme) -> tp.Any:
    """Figure with a panel per source: the score of each track in `first` (vertical) against that in `second`
    (horizontal). Above the diagonal `first` is better. `comparison` is `first` minus `second`. Call within
    `themed(theme)`."""
    family: Family = comparison.family
    sources = [source for source in first.sources if source in second.sources]
    columns = min(4, max(3, len(sources)))    # at least 3, so that the title fits
    rows = -(-len(sources) // columns)
    figure = new_figure(3.0 * columns, 1.0 + 3.15 * rows)
    grid = figure.add_gridspec(rows, columns)
    heading(figure, f"{first.name} against {second.name}, track by track",
            f"above the diagonal {first.name} is better; {comparison.tracks} tracks that both have", theme)
    figure.supxlabel(f"{per_track(family.metric)}; along: {second.name}, up: {first.name}", fontsize=10)
    theirs = {track.name: track for track in second.tracks}
    for place, source in enumerate(sources):
        axes = figure.add_subplot(grid[place // columns, place % columns])
        color = source_color(source, sources, theme)
        points = [(x, y) for track in first.tracks if track.name in theirs
                  if (y := track.scores.get(source, {}).get(family.metric)) is not None
                  and (x := theirs[track.name].scores.get(source, {}).get(family.metric)) is not None]
        low, high = min(map(min, points), default=0.), max(map(max, points), default=1.)
        limits = (low - 0.06 * max(high - low, 1.), high + 0.06 * max(high - low, 1.))
        axes.set_title(source, color=color)
        axes.plot(limits, limits, color=theme.muted, linewidth=1)
        if points:
            axes.scatter(*zip(*points), s=20, color=color, alpha=0.85, linewidths=0, zorder=3)
        found = comparison.differences.get(source)
        if found is not None:
            tied = f", {found.tied} tied" if found.tied else ""
            won = f"{found.won} won, {found.lost} lost{tied}\n{family.across} {typeset(found.value, plus=True)} dB"
            axes.annotate(won, (0.03, 0.97), xycoords="axes fraction", va="top", fontsize=8.5, color=theme.text)
        axes.set(xlim=limits, ylim=limits, aspect="equal")
        for side in (axes.xaxis, axes.yaxis):
            side.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
        axes.grid(linewidth=0.6)
        axes.set_axisbelow(True)
    return figure
