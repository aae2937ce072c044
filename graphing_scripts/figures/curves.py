"""Curves over epochs: training of a chain of runs, tests during training, and several chains in one figure.

Lines are interrupted where one run continues another, since that run starts from the best weights, with new averages.
"""

import math
import typing as tp

from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from records.chains import Chain, newest_is_best

from demucs.metrics.aggregates import ALL, FAMILIES, NSDR_MEAN, Family, logged_aggregate
from demucs.schema import EpochRecord

from .style import Theme, heading, key, new_figure, run_look, source_color

FEW = 20              # lines with fewer points have markers
STEEP = 30.           # ratio of maximum and median above which an axis is logarithmic
MEGABYTE = "ms"       # key of a quantised model's size in the records of published Demucs

Value = tp.Callable[[EpochRecord], tp.Optional[float]]


def training_curves(chain: Chain, theme: Theme) -> tp.Any:
    """Figure of the training of a chain, over epochs: a panel each for loss, nSDR, the chosen weights, SVD penalty,
    gradient norm and model size, those that its histories have. The chain has a history. Call within
    `themed(theme)`."""
    panels: tp.List[tp.Callable[[tp.Any], None]] = [lambda axes: _loss(axes, chain, theme)]
    if any("nsdr" in record.valid for record in chain.history):
        panels.append(lambda axes: _nsdr(axes, chain, theme))
    if len(_candidates(chain)) > 1:
        panels.append(lambda axes: _chosen(axes, chain, theme))
    if any(record.train.get("penalty") or record.penalty for record in chain.history):
        panels.append(lambda axes: _pair(axes, chain, theme, "SVD penalty", "penalty", lambda r: r.train.get("penalty"),
                                         lambda r: r.penalty))
    if any("grad" in record.train for record in chain.history):
        panels.append(lambda axes: _pair(axes, chain, theme, "Gradient norm", "L2 norm, mean over steps",
                                         lambda r: r.train.get("grad"), None))
    if any(record.valid.get(MEGABYTE) for record in chain.history):
        panels.append(lambda axes: _pair(axes, chain, theme, "Model size, quantised", "MiB",
                                         lambda r: r.train.get(MEGABYTE), lambda r: r.valid.get(MEGABYTE)))
    figure = new_figure(11, 1.05 + 2.9 * ((len(panels) + 1) // 2))
    heading(figure, "Training of " + " \N{RIGHTWARDS ARROW} ".join(part.run.name for part in chain.parts),
            f"{epochs_in_words(chain)}; {best_note(chain)}", theme, below=0.3)
    key(figure, _key(chain, theme))
    for cell, draw in zip(_cells(figure, len(panels)), panels):
        axes = figure.add_subplot(cell)
        draw(axes)
        _frame(axes, chain, theme, names=cell.rowspan.start == 0)
    return figure


def _cells(figure: tp.Any, count: int) -> tp.List[tp.Any]:
    """Grid cells of `count` panels in two columns. If `count` is odd, the first panel spans both columns."""
    grid = figure.add_gridspec((count + 1) // 2, 2)
    if count % 2:
        return [grid[0, :], *(grid[1 + place // 2, place % 2] for place in range(count - 1))]
    return [grid[place // 2, place % 2] for place in range(count)]


def epochs_in_words(chain: Chain) -> str:
    """Epochs of a chain as text: "24 epochs", or "epochs 13 to 24" if the first ones belong to a run that was not
    found."""
    first = chain.parts[0].first
    return f"{chain.epochs} epoch{'s' * (chain.epochs != 1)}" if first == 1 else f"epochs {first} to {chain.epochs}"


def best_note(chain: Chain) -> str:
    """Phrase on the best weights of the last run of a chain, such as "best weights: epoch 20 (ema_batch_0)"."""
    part = chain.parts[-1]
    if part.best is None:
        return "best weights: from the run that this one continued"
    chosen = part.record(part.best).chosen
    if newest_is_best(part.run):
        return (f"kept weights: those of the last epoch ({chosen}), for it trains on the validation songs and their "
                f"scores choose nothing")
    exact = ", to the decimals of a log" if part.run.logged else ""
    return f"best weights: epoch {part.best} ({chosen}{exact})"


def _candidates(chain: Chain) -> tp.List[str]:
    return list(dict.fromkeys(name for record in chain.history for name in (*record.candidates, record.chosen)))


def _key(chain: Chain, theme: Theme) -> tp.List[tp.Any]:
    several = any(len(record.candidates) > 1 for record in chain.history)
    entries = [Line2D([], [], color=theme.muted, linestyle="--", label="training"),
               Line2D([], [], color=theme.text, label="validation, best weights of each epoch")]
    if several and any("main" in record.candidates for record in chain.history):
        entries.append(Line2D([], [], color=theme.muted, linewidth=0.9, label="validation, without averaging"))
    if any(part.best for part in chain.parts):
        entries.append(Line2D([], [], color=theme.text, marker="*", markersize=10, linestyle="none",
                              label="kept weights" if newest_is_best(chain.last) else "best of a run"))
    if any(test.numbers.get("nsdr") is not None for test in chain.tests):
        entries.append(Line2D([], [], color=theme.muted, marker="D", markerfacecolor="none", linestyle="none",
                              label="test songs"))
    return entries


def lines(label: str) -> str:
    """Label of a family broken into several lines, after each colon and comma, for a vertical axis."""
    return label.replace(": ", ":\n").replace(", ", ",\n")


def _frame(axes: tp.Any, chain: Chain, theme: Theme, *, names: bool) -> None:
    """Draw the epoch axis and a vertical line where a run continues another, with `names` above the panel."""
    _epochs(axes, chain.epochs, chain.parts[0].first)
    for join in chain.joins:
        axes.axvline(join - 0.5, color=theme.muted, linewidth=0.9, linestyle=(0, (5, 3)))
    if names and len(chain.parts) > 1:
        axes.set_title(axes.get_title("left"), pad=17)
        for part in chain.parts:
            wide = len(part.epochs) / chain.epochs
            if wide > 0.1:
                axes.annotate(part.run.name, ((part.first - 0.5 + part.last + 0.5) / 2, 1.01), ha="center", va="bottom",
                              xycoords=axes.get_xaxis_transform(), fontsize=8, color=theme.muted)


def _epochs(axes: tp.Any, last: int, first: int = 1) -> None:
    axes.grid(axis="y", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_xlabel("epoch")
    axes.set_xlim(first - 0.5 if last - first < FEW - 1 else first - 1, last + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, steps=[1, 2, 5, 10], min_n_ticks=1))


def _line(axes: tp.Any, chain: Chain, value: Value, **look: tp.Any) -> tp.List[float]:
    """Draw `value` of every epoch, with one line per run. Returns the values drawn."""
    drawn: tp.List[float] = []
    for part in chain.parts:
        points = [(epoch, number) for epoch, record in zip(part.epochs, part.run.history)
                  if (number := value(record)) is not None]
        if points:
            # markers: a line of one point would be invisible
            axes.plot(*zip(*points), **{"marker": "o" if len(points) < FEW else None, "markersize": 3.5, **look})
            drawn += [number for _, number in points]
    return drawn


def _loss(axes: tp.Any, chain: Chain, theme: Theme) -> None:
    axes.set_title("Loss")
    axes.set_ylabel("loss")
    if any(len(record.candidates) > 1 for record in chain.history):
        _line(axes, chain, lambda r: r.candidates.get("main", {}).get("loss"), color=theme.muted, linewidth=0.9,
              marker=None)
    _line(axes, chain, lambda r: r.train.get("loss"), color=theme.muted, linestyle="--")
    _line(axes, chain, lambda r: r.valid.get("loss"), color=theme.text)
    axes.margins(y=0.09)
    axes.set_ylim(*axes.get_ylim())
    _best(axes, chain, lambda r: r.valid.get("loss"), theme, labels=True)


def _best(axes: tp.Any, chain: Chain, value: Value, theme: Theme, *, labels: bool = False) -> None:
    """Mark the best epoch of each run with a star; with `labels`, name its weights."""
    for part in chain.parts:
        height = value(part.record(part.best)) if part.best else None
        if part.best is None or height is None:
            continue
        _star(axes, part.best, height, theme)
        if labels and math.isfinite(height):
            right = part.best > chain.epochs * 0.9
            low, high = axes.get_ylim()
            under = part.record(part.best).train.get("loss", low)
            below = height - (under if under < height else low) > 0.2 * (high - low)    # whether a label fits below
            axes.annotate(f"{part.record(part.best).chosen}, epoch {part.best}", (part.best, height), fontsize=8,
                          xytext=(6 if right else 0, -9 if below else 9), textcoords="offset points", zorder=6,
                          ha="right" if right else "center", va="top" if below else "bottom", color=theme.text,
                          path_effects=[withStroke(linewidth=3, foreground=theme.background)])


def _star(axes: tp.Any, epoch: int, height: float, theme: Theme) -> None:
    axes.plot([epoch], [height], marker="*", markersize=11, color=theme.text, markeredgecolor=theme.background,
              zorder=5, linestyle="none", clip_on=False)


def _nsdr(axes: tp.Any, chain: Chain, theme: Theme) -> None:
    axes.set_title("Validation nSDR")
    axes.set_ylabel(lines(NSDR_MEAN.label), fontsize=9)
    ends = []
    for source in [*chain.sources, ALL]:
        field = NSDR_MEAN.history if source == ALL else f"{NSDR_MEAN.history}_{source}"
        color = source_color(source, chain.sources, theme)
        drawn = _line(axes, chain, lambda r, field=field: r.valid.get(field), color=color,
                      linewidth=2.4 if source == ALL else 1.6)
        tests = [(test.epoch, test.numbers[field]) for test in chain.tests if test.numbers.get(field) is not None]
        if drawn:
            ends.append((drawn[-1], source, color))
        if tests:
            axes.plot(*zip(*tests), color=color, marker="D", markersize=6, linestyle="none", markerfacecolor="none",
                      markeredgewidth=1.6, clip_on=False, zorder=4)
    _best(axes, chain, lambda r: r.valid.get(NSDR_MEAN.history), theme)
    axes.margins(y=0.09)
    end_labels(axes, [(height, "mean" if source == ALL else source, color) for height, source, color in ends])


def _chosen(axes: tp.Any, chain: Chain, theme: Theme) -> None:
    """Draw which weights validated best in each epoch."""
    names = _candidates(chain)
    axes.set_title("Weights that validated best")
    for part in chain.parts:
        places = [names.index(record.chosen) for record in part.run.history]
        axes.plot(part.epochs, places, linestyle="none", marker="|", markersize=8, color=theme.text,
                  markeredgewidth=1.1)
        if part.best:
            _star(axes, part.best, names.index(part.record(part.best).chosen), theme)
    counts = [sum(record.chosen == name for record in chain.history) for name in names]
    axes.set_yticks(range(len(names)), [f"{name} ({count})" for name, count in zip(names, counts)])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def _pair(axes: tp.Any, chain: Chain, theme: Theme, title: str, label: str, train: Value,
          valid: tp.Optional[Value]) -> None:
    axes.set_title(title)
    drawn = _line(axes, chain, train, color=theme.muted, linestyle="--")
    drawn += _line(axes, chain, valid, color=theme.text) if valid else []
    axes.margins(y=0.09)
    positive = sorted(value for value in drawn if value > 0)
    if positive and len(positive) == len(drawn) and positive[-1] > STEEP * positive[len(positive) // 2]:
        axes.set_yscale("log")
        label += ", logarithmic"
    axes.set_ylabel(lines(label), fontsize=9)


def end_labels(axes: tp.Any, ends: tp.Iterable[tp.Tuple[float, str, str]]) -> None:
    """Write the names of lines at the right edge of `axes`, shifted vertically so that they do not overlap. `ends` are
    (height of the line's end, name, colour).

    The limits of the vertical axis must be set before.
    """
    ends = sorted(ends)
    low, high = axes.get_ylim()
    gap = (high - low) * 0.075
    places = [height for height, _, _ in ends]
    for _ in range(200):
        for lower in range(len(places) - 1):
            overlap = gap - (places[lower + 1] - places[lower])
            if overlap > 1e-9:
                places[lower] -= overlap / 2
                places[lower + 1] += overlap / 2
        places = [min(max(place, low), high) for place in places]
    for place, (_, name, color) in zip(places, ends):
        axes.annotate(name, (1.03, place), xycoords=axes.get_yaxis_transform(), color=color, va="center", fontsize=9,
                      fontweight="bold", annotation_clip=False)


def tested_curves(chain: Chain, theme: Theme) -> tp.Any:
    """Figure of the scores on the test songs during the training of a chain, one panel for each family that was tested
    at least twice; None without such a family. Call within `themed(theme)`."""
    wanted = [(family, found) for family in FAMILIES.values() if len(found := _tested(chain, family)) > 1]
    if not wanted:
        return None
    figure = new_figure(11, 0.75 + 2.9 * ((len(wanted) + 1) // 2))
    heading(figure, f"Tests along the training of {chain.name}",
            "each panel is one way to aggregate: numbers of different panels are not comparable", theme)
    for cell, (family, found) in zip(_cells(figure, len(wanted)), wanted):
        axes = figure.add_subplot(cell)
        axes.set_title(family.short)
        axes.set_ylabel(lines(family.label), fontsize=9)
        ends = []
        for source in [*chain.sources, ALL]:
            points = [(epoch, values[source]) for epoch, values in found if values.get(source) is not None]
            if not points:
                continue
            color = source_color(source, chain.sources, theme)
            axes.plot(*zip(*points), color=color, marker="D", markersize=5, markerfacecolor="none", markeredgewidth=1.5,
                      linewidth=2.2 if source == ALL else 1.4, clip_on=False)
            ends.append((points[-1][1], "mean" if source == ALL else source, color))
        axes.margins(y=0.1)
        end_labels(axes, ends)
        _frame(axes, chain, theme, names=cell.rowspan.start == 0)
    return figure


def _tested(chain: Chain, family: Family) -> tp.List[tp.Tuple[int, tp.Dict[str, tp.Any]]]:
    found = [(test.epoch, logged_aggregate(test.numbers, family, chain.sources)) for test in chain.tests]
    return [(epoch, numbers.values) for epoch, numbers in found if numbers.defined]


def comparison_curves(chains: tp.Sequence[Chain], theme: Theme) -> tp.Any:
    """Figure of validation loss and mean nSDR over epochs, with a line per chain that has a history; None if fewer than
    two have one. Call within `themed(theme)`."""
    shown = [(number, chain) for number, chain in enumerate(chains) if chain.history]
    if len(shown) < 2:
        return None
    panels: tp.List[tp.Tuple[str, str, Value]] = [
        ("Validation loss", "loss", lambda r: r.valid.get("loss")),
        ("Validation nSDR", NSDR_MEAN.label, lambda r: r.valid.get(NSDR_MEAN.history))]
    figure = new_figure(11, 4.3)
    heading(figure, "Validation along the training",
            "best weights of each epoch; comparable only between runs with the same validation songs", theme, below=0.3)
    key(figure, [Line2D([], [], label=chain.name, **run_look(number)) for number, chain in shown])
    for place, (title, label, value) in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), place)
        axes.set_title(title)
        axes.set_ylabel(lines(label), fontsize=9)
        for number, chain in shown:
            _line(axes, chain, value, **run_look(number))
        axes.margins(y=0.09)
        _epochs(axes, max(chain.epochs for _, chain in shown))
    return figure
