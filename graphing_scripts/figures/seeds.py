"""Plot of the spread over seeds: one point per training, with mean and standard deviation of each configuration."""

from __future__ import annotations

import textwrap
import typing as tp

from demucs.metrics.aggregates import ALL, one_family
from demucs.tables import typeset

from .style import Theme, heading, new_figure, source_color

if tp.TYPE_CHECKING:
    from demucs.metrics.statistics import SeedSpread    # imports scipy, which takes as long as drawing a figure

LABEL = 16          # characters per line of a configuration's name
LEAST = 0.1         # dB, minimum range of a panel


def spread_plot(configurations: tp.Mapping[str, tp.Mapping[str, SeedSpread]], sources: tp.Sequence[str], theme: Theme
                ) -> tp.Any:
    """Figure of the spread over seeds: a panel per source and one for the mean over them, each with a column per
    configuration. None without a spread.

    `configurations` maps the name of a configuration to its spreads per source. All panels span the same number of
    decibels. Call within `themed(theme)`. Raises FamilyError if the spreads are of different families.
    """
    shown = {name: spreads for name, spreads in configurations.items() if spreads}
    if not shown:
        return None
    family = one_family([each for spreads in shown.values() for each in spreads.values()], where="a plot of seeds")
    columns = [name for name in (*sources, ALL) if any(name in spreads for spreads in shown.values())]
    figure = new_figure(max(6., 1.1 + len(columns) * (0.7 + 1.35 * len(shown))), 4.6)
    counts = sorted({len(each.values) for spreads in shown.values() for each in spreads.values()})
    heading(figure, f"Spread over seeds of {next(iter(shown)) if len(shown) == 1 else f'{len(shown)} configurations'}",
            f"points: trainings ({' or '.join(map(str, counts))} seeds); line and bar: mean \N{PLUS-MINUS SIGN} "
            f"standard deviation, also in numbers", theme)
    figure.supxlabel(family.label, fontsize=10)
    middle = {name: [value for spreads in shown.values() if name in spreads for value in spreads[name].values]
              for name in columns}
    span = max(LEAST, *(max(values) - min(values) for values in middle.values()))
    for place, source in enumerate(columns):
        axes = figure.add_subplot(1, len(columns), place + 1)
        color = source_color(source, sources, theme)
        axes.set_title("mean" if source == ALL else source, color=color)
        center = (max(middle[source]) + min(middle[source])) / 2
        axes.set_ylim(center - 0.9 * span, center + 0.75 * span)
        for column, spreads in enumerate(shown.values()):
            if source in spreads:
                _column(axes, column, spreads[source], color, center - 0.87 * span, theme)
        names = ["\n".join(textwrap.wrap(name.replace(" (", "\n("), LABEL, replace_whitespace=False)) for name in shown]
        axes.set_xticks(range(len(shown)), names if len(shown) > 1 else [""], fontsize=8)    # a single name: see title
        axes.set_xlim(-0.65, len(shown) - 0.35)
        axes.tick_params(axis="x", length=0)
        axes.grid(axis="y", linewidth=0.7)
        axes.set_axisbelow(True)
    return figure


def _column(axes: tp.Any, column: int, spread: SeedSpread, color: str, below: float, theme: Theme) -> None:
    axes.plot([column, column], [spread.mean - spread.deviation, spread.mean + spread.deviation], color=theme.muted,
              linewidth=7, alpha=0.35, solid_capstyle="butt")
    axes.plot([column - 0.28, column + 0.28], [spread.mean, spread.mean], color=theme.text, linewidth=1.8)
    aside = [0.24 * (rank / max(len(spread.values) - 1, 1) - 0.5) for rank in range(len(spread.values))]
    axes.scatter([column + each for each in aside], spread.values, color=color, s=30, zorder=3)
    numbers = f"{typeset(spread.mean)} \N{PLUS-MINUS SIGN} {typeset(spread.deviation)}\nrange {typeset(spread.range)}"
    axes.annotate(numbers, (column, below), ha="center", va="bottom", fontsize=8, color=theme.text)
