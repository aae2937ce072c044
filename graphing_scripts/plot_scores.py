"""Scores of a run: per-source bars beside reference separators and published numbers, and how tracks spread.

One figure per metric family, with the family named on its axis: numbers of two families never share one.
"""

import textwrap
import typing as tp

import baselines
import common
import numpy as np
from readers import Run, find_run
from scores import PUBLISHED, REFERENCE, RUN, Row, measured, published
from style import LIGHT, Theme, heading, new_figure, save, source_color, themed

from demucs.errors import SignatureError
from demucs.metrics.aggregates import ALL, FAMILIES, Family, track_values

METRICS = {"nsdr": "nSDR (dB): whole track", "SDR": "SDR (dB): median over 1 s frames of the track"}


def score_bars(run: Run, family: Family, theme: Theme, table: tp.Sequence[baselines.Baseline]) -> tp.Any:
    """Bars per source of `run` in one family, or None where it has no scores in it. Call within `themed(theme)`."""
    own = measured(run, family)
    if not own or run.evaluation is None:
        return None
    theirs = published(run, family, table)
    lines: tp.List[tp.Union[str, Row]] = [f"{run.evaluation.dataset}, {len(run.evaluation.tracks)} tracks", *own]
    if theirs:
        what = "" if baselines.comparable(run.evaluation) else " (other songs: not comparable)"
        lines += [f"published, {baselines.TEST_SET}{what}", *theirs]
    sources = [*run.evaluation.sources, ALL]
    heights = _places(lines)
    figure = new_figure(12, 2.05 + 0.30 * -heights[-1])
    shown = ["coloured: this run", "grey: reference separators" if len(own) > 1 else "",
             "hatched: published" if theirs else ""]
    heading(figure, f"Scores of {run.name}", ", ".join(filter(None, shown)), theme)
    figure.supxlabel(family.label, fontsize=10)
    grid = figure.add_gridspec(1, len(sources))
    shared = None
    for column, source in enumerate(sources):
        axes = figure.add_subplot(grid[column], sharex=shared, sharey=shared)
        shared = shared or axes
        axes.set_title("mean" if source == ALL else source, color=source_color(source, sources, theme))
        for place, line in zip(heights, lines):
            if isinstance(line, Row):
                _bar(axes, place, line, source, source_color(source, sources, theme), theme)
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
    numbers = [line.values[source] or 0. for line in lines if isinstance(line, Row) for source in sources]
    span = max(max(numbers), 0.5) - min(min(numbers), 0)
    shared.set_xlim(min(min(numbers), 0) - (0.34 * span if min(numbers) < 0 else 0), max(max(numbers), 0) + 0.34 * span)
    return figure


def _places(lines: tp.Sequence[tp.Union[str, Row]]) -> tp.List[float]:
    """Heights of the lines on the vertical axis, from 0 down: more room for two-line names and before a heading."""
    places: tp.List[float] = []
    before = 0.
    for line in lines:
        half = 0.75 if isinstance(line, str) else 0.3 + 0.25 * len(_name(line).splitlines())
        places.append(places[-1] - before - half if places else 0.)
        before = 0.45 if isinstance(line, str) else half
    return places


def _name(line: tp.Union[str, Row]) -> str:
    return textwrap.fill(line.label, 46) if isinstance(line, Row) else line


def _bar(axes: tp.Any, place: float, row: Row, source: str, color: str, theme: Theme) -> None:
    value = row.values.get(source)
    if value is None:
        axes.annotate("undefined", (0, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8,
                      color=theme.muted)
        return
    look = {RUN: {"color": color}, REFERENCE: {"color": theme.muted, "alpha": 0.55},
            PUBLISHED: {"facecolor": "none", "edgecolor": theme.muted, "hatch": "////"}}[row.kind]
    axes.barh(place, value, height=0.62, linewidth=0.9, **look)
    value = round(value, 2) + 0.            # not "-0.00"
    text = axes.annotate(f"{value:.2f}".replace("-", "\N{MINUS SIGN}"), (value, place), textcoords="offset points",
                         xytext=(4 if value >= 0 else -4, 0), va="center", ha="left" if value >= 0 else "right",
                         fontsize=9, fontweight="bold" if row.kind == RUN else "normal")
    text.set_in_layout(False)   # room for it is in the limits of the axis


def track_spread(run: Run, metric: str, theme: Theme) -> tp.Any:
    """One point per track and source, over a box where there are enough; None without such scores."""
    evaluation = run.evaluation
    if evaluation is None:
        return None
    values = {source: track_values(evaluation.tracks, source, metric) for source in evaluation.sources}
    if not any(values.values()):
        return None
    figure = new_figure(9, 4.9)
    heading(figure, f"Scores of {run.name}, track by track",
            f"{evaluation.dataset}, {len(evaluation.tracks)} tracks: one point each, their median as a line", theme)
    axes = figure.add_subplot()
    for place, (source, scores) in enumerate(values.items()):
        color = source_color(source, evaluation.sources, theme)
        if not scores:
            continue
        if len(scores) >= 5:
            axes.boxplot([scores], positions=[place], widths=0.5, showfliers=False, manage_ticks=False,
                         boxprops={"color": theme.muted}, whiskerprops={"color": theme.muted},
                         capprops={"color": theme.muted}, medianprops={"color": theme.muted, "linewidth": 1})
        axes.scatter(place + _aside(scores), scores, s=26, color=color, alpha=0.9, linewidths=0, zorder=3)
        median = float(np.median(scores))
        axes.plot([place - 0.25, place + 0.25], [median, median], color=theme.text, linewidth=2.4, zorder=4)
    axes.set_xticks(range(len(values)), [f"{source} ({len(scores)})" for source, scores in values.items()])
    axes.tick_params(axis="x", length=0, labelsize=10)
    axes.set_xlim(-0.6, len(values) - 0.4)
    axes.set_ylabel(METRICS[metric])
    axes.grid(axis="y", linewidth=0.7)
    axes.set_axisbelow(True)
    return figure


def _aside(scores: tp.Sequence[float]) -> tp.Any:
    """Sideways places that keep points with close scores apart: by rank, in a fixed pattern, so always the same."""
    ranks = np.argsort(np.argsort(scores))
    return ((ranks * 0.618034) % 1 - 0.5) * (0.36 if len(scores) > 4 else 0.2)


def main() -> None:
    parser = common.parser(__doc__, "python graphing_scripts/plot_scores.py 162f67a7 --family sdr_median_of_medians")
    parser.add_argument("--family", choices=sorted(FAMILIES), help="draw this family only (default: all that exist)")
    arguments = parser.parse_args()
    families = [FAMILIES[arguments.family]] if arguments.family else list(FAMILIES.values())
    table = baselines.load()
    for argument in arguments.runs or [None]:
        run = find_run(argument, arguments.results)
        with themed(LIGHT):
            figures = {f"scores_{family.key}": score_bars(run, family, LIGHT, table) for family in families}
            figures.update({f"tracks_{metric.lower()}": track_spread(run, metric, LIGHT) for metric in METRICS
                            if metric in {family.metric for family in families}})
            if not any(figures.values()):
                raise SignatureError(f"{run.name} has no scores to draw"
                                     + (f" in the family {arguments.family}" if arguments.family else "")
                                     + ": evaluate it first (slurm_scripts/evaluate_slurm.sh)")
            for name, figure in figures.items():
                if figure is not None:
                    print(*save(figure, arguments.results / "figures" / run.name, name), sep="\n")
        for note in run.notes:
            print(f"note: {note}")


if __name__ == "__main__":
    common.run(main)
