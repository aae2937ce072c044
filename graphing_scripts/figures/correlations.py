"""Agreement of reference-free quality measures with true scores: correlations, and scatter plots of the data."""

import typing as tp

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from demucs.metrics.aggregates import ALL
from demucs.schema import QualityStudy, unpack_frames

from .style import Theme, heading, key, new_figure, source_color

AMONG = {"model": "a model and its degraded copies", ALL: "all separators"}
OVER = {"tracks": "Which songs came out well?\n(over songs, mean over separators)",
        "separators": "Which separator is better?\n(over separators, mean over songs)"}
KINDS = {"model": ("o", "the model and its degraded copies"), "reference": ("s", "reference separators"),
         "oracle": ("^", "true sources, degraded")}
ROW = 0.55           # inches per measure


def correlations(study: QualityStudy, among: str, measures: tp.Sequence[str], theme: Theme) -> tp.Any:
    """Figure of Spearman's rank correlations of `measures` with nSDR, with 95 % intervals, for each source and for
    their mean. One panel has the correlations over songs, the other those over separators. A correlation with the
    expected sign is drawn as positive. Measures without a correlation in `study` are left out; None if that leaves
    none.

    `among` is the set of separators, a key of `AMONG`. Call within `themed(theme)`.
    """
    found = {(item.measure, item.over, item.source): item for item in study.correlations if item.among == among}
    rows = [measure for measure in measures if (measure, "tracks", ALL) in found]
    if not rows:
        return None
    rows.sort(key=lambda measure: sum(found[measure, over, ALL].rho for over in OVER) * study.expected[measure])
    sources = [*study.sources, ALL]
    figure = new_figure(11, 1.75 + ROW * len(rows))
    songs, count = len(study.tracks), sum(among in (ALL, column.kind) for column in study.columns)
    heading(figure, "Quality without references: does it agree with true scores?",
            f"{study.dataset}, {songs} songs; {AMONG[among]} ({count}). Lines: 95 % intervals over songs", theme,
            below=0.3)
    key(figure, [Line2D([], [], color=source_color(source, sources, theme), marker="D" if source == ALL else "o",
                        markersize=5, label="mean over sources" if source == ALL else source) for source in sources])
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (over, title) in zip(panels, OVER.items()):
        axes.set_title(title, fontsize=10)
        for index, source in enumerate(sources):
            heights = np.arange(len(rows)) + 0.28 - 0.14 * index
            low, rho, high = np.array([[study.expected[measure] * value for value in (item.low, item.rho, item.high)]
                                       for measure in rows for item in [found[measure, over, source]]]).T
            color = source_color(source, sources, theme)
            axes.hlines(heights, low, high, color=color, linewidth=2 if source == ALL else 1.2)
            axes.plot(rho, heights, color=color, linestyle="none", marker="D" if source == ALL else "o", markersize=5)
        axes.hlines(np.arange(1, len(rows)) - 0.5, -1.02, 1.02, color=theme.grid, linewidth=0.7)
        axes.axvline(0, color=theme.muted, linewidth=1)
        axes.set_xlim(-1.02, 1.02)
        axes.set_ylim(-0.5, len(rows) - 0.5)
        axes.set_xlabel("Spearman's \N{GREEK SMALL LETTER RHO} with nSDR (to the right: as expected)")
        axes.grid(axis="x", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    panels[0].set_yticks(range(len(rows)), [_name(study, measure) for measure in rows])
    return figure


def _name(study: QualityStudy, measure: str) -> str:
    better = "higher" if study.expected[measure] > 0 else "lower"
    return f"{study.measures[measure].replace(' (dB)', '')}\n({better} expected to be better)"


def scatter(study: QualityStudy, measures: tp.Sequence[str], theme: Theme) -> tp.Any:
    """Figure with scatter plots of nSDR (vertical) against each of `measures`: a row per measure, a panel per source, a
    point per song and separator. Call within `themed(theme)`."""
    figure = new_figure(2.75 * len(study.sources) + 0.6, 1.25 + 1.75 * len(measures))
    heading(figure, "What is behind the correlations", f"{study.dataset}: a point per song and separator; nSDR upwards",
            theme, below=0.3)
    key(figure, [Line2D([], [], color=theme.muted, marker=marker, linestyle="none", markersize=5, label=label,
                        markerfacecolor=theme.muted if kind == "model" else "none")
                 for kind, (marker, label) in KINDS.items() if any(column.kind == kind for column in study.columns)])
    width, height = figure.get_size_inches()
    figure.set_layout_engine("none")           # panels of equal size do not need one, and it would take a second
    grid = figure.subplots(len(measures), len(study.sources), sharex="row", sharey=True, squeeze=False,
                           gridspec_kw=dict(left=0.65 / width, right=1 - 0.15 / width, bottom=0.5 / height,
                                            top=1 - 1.15 / height, wspace=0.1, hspace=0.5))
    for row, measure in zip(grid, measures):
        for axes, source in zip(row, study.sources):
            for kind, (marker, _) in KINDS.items():
                own = kind == "model"
                color = source_color(source, study.sources, theme) if own else theme.muted
                points = [(x, y) for column in study.columns if column.kind == kind and measure in column.values[source]
                          for x, y in zip(*map(unpack_frames, (column.values[source][measure], column.nsdr[source])))]
                if points:
                    axes.plot(*np.array(points).T, linestyle="none", marker=marker, markersize=3, color=color,
                              markerfacecolor=color if own else "none", markeredgewidth=0 if own else 0.6,
                              alpha=0.55 if own else 0.8, rasterized=True, zorder=3 if own else 2)
            axes.grid(linewidth=0.6)
            axes.set_axisbelow(True)
            axes.tick_params(labelsize=8)
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.yaxis.set_major_locator(MaxNLocator(5))
        row[0].set_ylabel("nSDR (dB)", fontsize=9)
        even = len(row) % 2 == 0                # the label is centred under the row, not under one panel
        row[len(row) // 2].set_xlabel(study.measures[measure], fontsize=9, x=-0.1 if even else 0.5)
    for axes, source in zip(grid[0], study.sources):
        axes.set_title(source, color=source_color(source, study.sources, theme))
    return figure
