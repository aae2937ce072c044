"""Learnt weights and gates by which a model combines its branches, over the epochs of a chain of runs."""

import typing as tp

from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from records.chains import Chain

from demucs.metrics.aggregates import ALL
from demucs.schema import Combination

from .curves import epochs_in_words
from .style import Theme, heading, key, new_figure, run_look, source_color

FEW = 20              # lines with fewer points have markers
LEAST = 0.005         # minimum margin of the scale of weights
PLACES = {"final_fusion_weights": "estimates", "fusion_weights": "bottleneck"}      # what a parameter combines
Row = tp.Tuple[str, str]            # name of a parameter, and a source, or "all"
Points = tp.List[tp.Tuple[int, Combination]]


def points_of(chain: Chain) -> tp.List[Points]:
    """(epoch within the chain, its record) of all epochs that have one, a list per run of the chain."""
    found = [[(epoch, record.combination) for epoch, record in zip(part.epochs, part.run.history)
              if record.combination is not None] for part in chain.parts]
    return [points for points in found if points]


def weights_plot(chain: Chain, theme: Theme) -> tp.Any:
    """Figure of the softmax weights of a chain: a panel per source (and one for weights of all sources) with a line per
    branch over epochs, on one scale, and a panel with the weights at the end as bars. None without weights. Call within
    `themed(theme)`."""
    runs = points_of(chain)
    rows = [(name, source) for name, sources in (runs[-1][-1][1].weights if runs else {}).items() for source in sources]
    if not rows:
        return None
    rows.sort(key=lambda row: row[1] == ALL)                    # sources first
    branches = list(dict.fromkeys(branch for name, source in rows for branch in runs[-1][-1][1].weights[name][source]))
    looks = {branch: run_look(number) for number, branch in enumerate(branches)}
    cells = len(rows) + 1
    height = (cells + 1) // 2
    figure = new_figure(11, 1.05 + 2.5 * height)
    heading(figure, f"Weights of the branches in {chain.name}",
            f"{epochs_in_words(chain)}; softmax weights at the end of each epoch, as in evaluation; dotted: equal "
            "weights", theme, below=0.3)
    key(figure, [Line2D([], [], label=branch, **look) for branch, look in looks.items()])
    panels = figure.subplots(height, 2, squeeze=False).flatten()
    values = [value for points in runs for _, each in points for name, source in rows
              for value in each.weights.get(name, {}).get(source, {}).values() if value is not None]
    low, high = min([*values, 1 / len(branches)]), max([*values, 1 / len(branches)])
    margin = max(LEAST, 0.08 * (high - low))
    for axes, row in zip(panels, rows):
        _over_epochs(axes, runs, row, looks, chain, theme)
        axes.set_ylim(low - margin, high + margin)               # one scale, so that sources can be compared
    _bars(panels[len(rows)], runs[-1][-1], rows, looks, chain, theme)
    for axes in panels[cells:]:
        axes.set_visible(False)
    return figure


def gates_plot(chain: Chain, theme: Theme) -> tp.Any:
    """Figure of the gates of a chain over epochs, a line each. None without gates. Call within `themed(theme)`."""
    runs = points_of(chain)
    names = list(runs[-1][-1][1].gates) if runs else []
    if not names:
        return None
    figure = new_figure(11, 4.2)
    heading(figure, f"Gates in {chain.name}", f"{epochs_in_words(chain)}; share of the mixer's output in the new state "
            "of a branch; 0.5 at the start", theme)
    axes = figure.add_subplot()
    for number, name in enumerate(names):
        for points in runs:
            shown = [(epoch, each.gates[name]) for epoch, each in points if each.gates.get(name) is not None]
            axes.plot(*zip(*shown) if shown else ([], []), label=name if points is runs[-1] else None,
                      marker="o" if len(shown) < FEW else None, markersize=4, **run_look(number))
    axes.axhline(0.5, color=theme.muted, linewidth=1, linestyle=":")
    _frame(axes, chain, theme)
    axes.set_ylabel("gate")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def _title(row: Row) -> str:
    name, source = row
    return f"{PLACES.get(name, name)}, all sources" if source == ALL else source


def _over_epochs(axes: tp.Any, runs: tp.Sequence[Points], row: Row, looks: tp.Mapping[str, tp.Mapping[str, tp.Any]],
                 chain: Chain, theme: Theme) -> None:
    name, source = row
    for branch, look in looks.items():
        for points in runs:
            found = [(epoch, each.weights.get(name, {}).get(source, {}).get(branch)) for epoch, each in points]
            shown = [(epoch, value) for epoch, value in found if value is not None]
            if shown:
                axes.plot(*zip(*shown), marker="o" if len(shown) < FEW else None, markersize=4, **look)
    axes.axhline(1 / len(runs[-1][-1][1].weights[name][source]), color=theme.muted, linewidth=1, linestyle=":")
    axes.set_title(_title(row), color=source_color(source, chain.sources, theme))
    axes.set_ylabel("weight")
    _frame(axes, chain, theme)


def _bars(axes: tp.Any, end: tp.Tuple[int, Combination], rows: tp.Sequence[Row],
          looks: tp.Mapping[str, tp.Mapping[str, tp.Any]], chain: Chain, theme: Theme) -> None:
    epoch, combination = end
    size = 0.8 / len(looks)
    for place, (name, source) in enumerate(rows):
        for number, (branch, look) in enumerate(looks.items()):
            value = combination.weights[name][source].get(branch)
            if value is not None:
                across = place - 0.4 + size * (number + 0.5)
                axes.bar(across, value, width=0.92 * size, color=look["color"])
                axes.annotate(f"{value:.2f}", (across, value), ha="center", va="bottom", fontsize=7, color=theme.text)
    axes.axhline(1 / len(looks), color=theme.muted, linewidth=1, linestyle=":")
    axes.set_xticks(range(len(rows)), [_title(row).replace(", ", ",\n") for row in rows], fontsize=8)
    axes.tick_params(axis="x", length=0)
    axes.set_title(f"after epoch {epoch}")
    axes.set_ylabel("weight")
    axes.margins(y=0.15)
    axes.grid(axis="y", linewidth=0.7)
    axes.set_axisbelow(True)


def _frame(axes: tp.Any, chain: Chain, theme: Theme) -> None:
    for epoch in chain.joins:
        axes.axvline(epoch - 0.5, color=theme.muted, linewidth=0.8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.grid(linewidth=0.7)
    axes.set_axisbelow(True)
