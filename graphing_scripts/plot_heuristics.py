"""How far measures of quality without references agree with true scores: what `tools/study_quality.py` found, drawn.

Two kinds of pictures. `correlations_*`: Spearman's rank correlation of every measure with nSDR and its interval, for
each source, over songs and over separators. `scatter`: what is behind it, a point per song and separator.
"""

import argparse
import typing as tp
from pathlib import Path

import common
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from style import LIGHT, Theme, heading, key, new_figure, save, source_color, themed

from demucs import schema
from demucs.arguments import Parser
from demucs.errors import ConfigError, SignatureError
from demucs.metrics.aggregates import ALL
from demucs.runs.layout import STUDY
from demucs.schema import QualityStudy, unpack_frames

AMONG = {"model": "a model and its spoilt copies", ALL: "all separators"}
OVER = {"tracks": "Which songs came out well?\n(over songs, mean over separators)",
        "separators": "Which separator is better?\n(over separators, mean over songs)"}
KINDS = {"model": ("o", "the model and its spoilt copies"), "reference": ("s", "reference separators"),
         "oracle": ("^", "true sources, degraded")}
ROW = 0.55           # inches per measure


def find_study(argument: tp.Optional[str], results: Path) -> tp.Tuple[QualityStudy, Path]:
    """The study that `argument` names, a file, a folder, a name in RESULTS/quality, or the newest one; and its folder.

    Raises:
        SignatureError: where there is none.
        SchemaError: where its file is not the record of a study.
    """
    there = sorted((results / "quality").glob(f"*/{STUDY}"), key=lambda path: path.stat().st_mtime)
    places = [there[-1]] if argument is None and there else []
    if argument is not None:
        places = [Path(argument), Path(argument) / STUDY, results / "quality" / argument / STUDY]
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        raise SignatureError(f"no study {argument or ''} in {results / 'quality'}; there are: "
                             f"{', '.join(path.parent.name for path in there) or 'none'}. tools/study_quality.py makes "
                             f"one")
    return schema.load(QualityStudy, found), found.parent


def measures_of(study: QualityStudy, chosen: tp.Optional[tp.Sequence[str]]) -> tp.List[str]:
    """`chosen` measures, or all of the study. Raises ConfigError for one that it does not have."""
    for measure in chosen or []:
        if measure not in study.measures:
            raise ConfigError(f"{measure!r} was not studied; there are: {', '.join(study.measures)}")
    return list(chosen or study.measures)


def correlations(study: QualityStudy, among: str, measures: tp.Sequence[str], theme: Theme) -> tp.Any:
    """Correlations among a kind of separators, signed so that right is as expected; None where there are none."""
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
    """nSDR against each measure, for each source: a point per song and separator."""
    figure = new_figure(2.75 * len(study.sources) + 0.6, 1.25 + 1.75 * len(measures))
    heading(figure, "What is behind the correlations", f"{study.dataset}: a point per song and separator; nSDR upwards",
            theme, below=0.3)
    key(figure, [Line2D([], [], color=theme.muted, marker=marker, linestyle="none", markersize=5, label=label,
                        markerfacecolor=theme.muted if kind == "model" else "none")
                 for kind, (marker, label) in KINDS.items() if any(column.kind == kind for column in study.columns)])
    width, height = figure.get_size_inches()
    figure.set_layout_engine("none")           # panels of one size need none, and it would take a second
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
        even = len(row) % 2 == 0                # the label in the middle of the row, not of one panel
        row[len(row) // 2].set_xlabel(study.measures[measure], fontsize=9, x=-0.1 if even else 0.5)
    for axes, source in zip(grid[0], study.sources):
        axes.set_title(source, color=source_color(source, study.sources, theme))
    return figure


def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                    epilog="example:\n  python graphing_scripts/plot_heuristics.py 4c3a4313")
    parser.add_argument("study", nargs="?",
                        help="its name (a folder of demucs_results/quality), folder or file; else the newest one")
    parser.add_argument("--measures", help="which ones, with commas between them (default: all)")
    parser.add_argument("--results", type=Path, default=common.REPOSITORY / "demucs_results", metavar="DIR",
                        help="folder that holds quality/ (default: demucs_results)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where pictures go (default: beside the study)")
    arguments = parser.parse_args()
    study, folder = find_study(arguments.study, arguments.results)
    measures = measures_of(study, arguments.measures.split(",") if arguments.measures else None)
    with themed(LIGHT):
        figures = {f"correlations_{among}": correlations(study, among, measures, LIGHT) for among in AMONG}
        figures["scatter"] = scatter(study, measures, LIGHT)
        for name, figure in figures.items():
            if figure is not None:
                print(*save(figure, arguments.out or folder, name), sep="\n")


if __name__ == "__main__":
    common.run(main)
