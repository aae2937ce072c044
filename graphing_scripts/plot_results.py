"""Training curves of a run, from its history.json: loss, nSDR per source, SVD penalty, gradient norm."""

import typing as tp

import common
from readers import Run, find_run
from style import LIGHT, Theme, heading, new_figure, save, source_color, themed

from demucs.errors import SignatureError
from demucs.metrics.aggregates import ALL

NAME = "training_curves"


def best_epoch(run: Run) -> tp.Optional[int]:
    """1-based epoch whose weights were kept as the best; None where they come from a run before this one."""
    final = run.history[-1].best
    for number, record in enumerate(run.history, start=1):
        if record.best == final:
            attained = any(value == final for metrics in record.candidates.values() for value in metrics.values())
            return number if attained else None
    return None


def training_curves(run: Run, theme: Theme) -> tp.Any:
    """A figure with one panel per quantity that the history has. Call it within `themed(theme)`."""
    history, best = run.history, best_epoch(run)
    valid = [record.valid for record in history]
    panels: tp.List[tp.Callable[[tp.Any], None]] = [lambda axes: _pair(
        axes, "Loss", "loss", [record.train.get("loss") for record in history], [item.get("loss") for item in valid],
        theme)]
    if any("nsdr" in item for item in valid):
        panels.append(lambda axes: _nsdr(axes, run, theme))
    if any(record.train.get("penalty") or record.penalty for record in history):
        panels.append(lambda axes: _pair(
            axes, "SVD penalty", "penalty", [record.train.get("penalty") for record in history],
            [record.penalty for record in history], theme))
    if any("grad" in record.train for record in history):
        panels.append(lambda axes: _pair(
            axes, "Gradient norm", "L2 norm, mean over steps", [record.train.get("grad") for record in history],
            [], theme))
    rows = (len(panels) + 1) // 2
    figure = new_figure(11, 0.7 + 3.1 * rows)
    note = (f"best weights: epoch {best} (dotted line; {history[best - 1].chosen})" if best
            else "best weights: from the run that this one continued")
    heading(figure, f"Training of {run.name}", f"{len(history)} epochs, {note}", theme)
    for place, draw in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, min(2, len(panels)), place)
        axes.grid(axis="y", linewidth=0.7)
        axes.set_axisbelow(True)
        if best:
            axes.axvline(best, color=theme.muted, linewidth=1, linestyle=":")
        draw(axes)
        axes.set_xlabel("epoch")
        axes.set_xlim(0.5 if len(history) < 20 else 0, len(history) + 0.5)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.margins(y=0.08)
    return figure


def _line(axes: tp.Any, values: tp.Sequence[tp.Optional[float]], **look: tp.Any) -> None:
    epochs = [number for number, value in enumerate(values, start=1) if value is not None]
    defined = [value for value in values if value is not None]
    few = len(defined) < 20   # single points would not show as a line
    axes.plot(epochs, defined, marker="o" if few else None, markersize=4, **look)


def _pair(axes: tp.Any, title: str, label: str, train: tp.Sequence[tp.Optional[float]],
          valid: tp.Sequence[tp.Optional[float]], theme: Theme) -> None:
    axes.set_title(title)
    axes.set_ylabel(label)
    _line(axes, train, color=theme.muted, linestyle="--", label="training")
    if any(value is not None for value in valid):
        _line(axes, valid, color=theme.text, label="validation, best weights of the epoch")
    axes.legend(loc="best")


def _nsdr(axes: tp.Any, run: Run, theme: Theme) -> None:
    axes.set_title("nSDR")
    axes.set_ylabel("dB, mean over songs")
    ends = []
    for source in [*run.sources, ALL]:
        key = "nsdr" if source == ALL else f"nsdr_{source}"
        values = [record.valid.get(key) for record in run.history]
        tests = [(number, record.test[key]) for number, record in enumerate(run.history, start=1)
                 if record.test and record.test.get(key) is not None]
        color = source_color(source, run.sources, theme)
        if any(value is not None for value in values):
            _line(axes, values, color=color, linewidth=2.4 if source == ALL else 1.6)
            ends.append(([value for value in values if value is not None][-1], source, color))
        if tests:
            axes.plot(*zip(*tests), color=color, marker="D", markersize=6, linestyle="none", markerfacecolor="none",
                      markeredgewidth=1.6)
    if any(record.test for record in run.history):
        axes.plot([], [], color=theme.muted, label="validation songs")
        axes.plot([], [], color=theme.muted, marker="D", markerfacecolor="none", linestyle="none", label="test songs")
        axes.legend(loc="lower right")
    _end_labels(axes, ends)


def _end_labels(axes: tp.Any, ends: tp.List[tp.Tuple[float, str, str]]) -> None:
    """Names at the right ends of lines, moved apart so that none covers another."""
    ends = sorted(ends)
    places = [value for value, _, _ in ends]
    gap = (axes.get_ylim()[1] - axes.get_ylim()[0]) * 0.07
    for _ in range(200):
        for lower in range(len(places) - 1):
            overlap = gap - (places[lower + 1] - places[lower])
            if overlap > 0:
                places[lower] -= overlap / 2
                places[lower + 1] += overlap / 2
    for place, (_, source, color) in zip(places, ends):
        axes.annotate("mean" if source == ALL else source, (1.01, place), xycoords=axes.get_yaxis_transform(),
                      color=color, va="center", fontsize=9, fontweight="bold", annotation_clip=False)


def main() -> None:
    arguments = common.parser(__doc__, "python graphing_scripts/plot_results.py 162f67a7").parse_args()
    for argument in arguments.runs or [None]:
        run = find_run(argument, arguments.results)
        if not run.history:
            raise SignatureError(f"{run.name} has no history.json: there are no curves to draw")
        with themed(LIGHT):
            for path in save(training_curves(run, LIGHT), arguments.results / "figures" / run.name, NAME):
                print(path)


if __name__ == "__main__":
    common.run(main)
