"""Scores of models against their costs, a panel per test set and metric family."""

import typing as tp

from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from records.costs import Group

from demucs.schema import SOURCES

from .style import Theme, heading, key, new_figure, run_look

APART = 0.045                    # smallest distance between labels at one cost, as a fraction of the axis
TICKS = (0.5, 1, 2, 5, 10, 20, 50, 100)       # of the axis, in 10^9 multiply-adds per second


def scores_by_cost(groups: tp.Sequence[Group], theme: Theme) -> tp.Any:
    """Figure of scores (upwards) against multiply-adds per second of audio, on a logarithmic axis. Only groups of at
    least two costs are drawn; None if there is none. Call within `themed(theme)`."""
    drawn = [group for group in groups if len({point.macs for point in group.points}) > 1]
    if not drawn:
        return None
    figure = new_figure(max(7.5, 5.6 * len(drawn)), 5.2)
    data = list(dict.fromkeys(point.training_data for group in drawn for point in group.points))
    heading(figure, "Scores against cost",
            f"mean over {', '.join(SOURCES)}; multiply-adds of one forward pass, without overlap of segments", theme,
            below=0.3 if len(data) > 1 else 0.)
    colors = {name: run_look(place)["color"] for place, name in enumerate(data)}
    if len(data) > 1:
        key(figure, [Line2D([], [], color=color, marker="o", linestyle="none", markersize=6, label=name)
                     for name, color in colors.items()])
    for place, group in enumerate(drawn):
        axes = figure.add_subplot(1, len(drawn), place + 1)
        axes.set_title(group.test_set)
        costs = [point.macs / 1e9 for point in group.points]
        axes.set_xscale("log")
        axes.set_xlim(min(costs) / 1.5, max(costs) * 3.2)
        axes.xaxis.set_major_locator(FixedLocator(TICKS))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlabel("multiply-adds per second of audio (10\N{SUPERSCRIPT NINE})")
        axes.set_ylabel(group.family.label)
        scores = [point.score for point in group.points]
        span = max(max(scores) - min(scores), 0.1)
        axes.set_ylim(min(scores) - 0.12 * span, max(scores) + 0.12 * span)
        lowest: tp.Dict[float, float] = {}             # label at each cost
        for point, cost in zip(group.points, costs):
            axes.plot([cost], [point.score], marker="o", markersize=7, color=colors[point.training_data])
            near = next((other for other in lowest if 0.9 < other / cost < 1.1), cost)
            lowest[near] = min(point.score, lowest.get(near, point.score + span) - APART * 1.24 * span)
            axes.annotate(point.name, (cost, lowest[near]), xytext=(8, 0), textcoords="offset points", va="center",
                          ha="left", fontsize=8, color=theme.text)
        axes.grid(linewidth=0.7)
        axes.set_axisbelow(True)
    return figure
