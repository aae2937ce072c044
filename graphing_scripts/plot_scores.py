"""Scores of runs: bars per source beside reference separators and published numbers, and the distribution over tracks.

For several runs: all of them in one bar chart, each against the first track by track, and the change of each against
the first. Runs that differ only in their seed are a sample of one configuration: their spread is drawn, and
configurations are compared by their averages over seeds. Each figure shows one metric family, named on its axis.
"""

import itertools
import typing as tp

import command_line
from figures.bars import ablation_bars, score_bars
from figures.seeds import spread_plot
from figures.style import LIGHT, save, themed
from figures.tracks import paired_scatter, track_spread
from records import baselines
from records.readers import Run, find_runs, on_all_sets
from records.scores import advice, families_with_scores, groups_of
from records.tracks import metrics_of

from demucs.errors import DatasetError, SignatureError
from demucs.metrics.aggregates import EVERY_FAMILY, FAMILIES, Family

Figures = tp.Dict[str, tp.Any]


def figures_of(run: Run, families: tp.Iterable[Family], table: tp.Sequence[baselines.Baseline]) -> Figures:
    """Figures of the scores of one run in `families`, by file name without suffix, beside the published rows of
    `table`. Call within `themed(LIGHT)`."""
    families = list(families)
    title = f"Scores of {run.name}"
    drawn = {f"scores_{family.key}": score_bars(groups_of(run.on_each_set, family, table), run.sources, title, LIGHT)
             for family in families}
    wanted = {family.metric for family in families}
    for number, each in enumerate(run.on_each_set):
        behind = f"_on_{command_line.file_name(each.evaluation.dataset)}" if number and each.evaluation else ""
        drawn.update({f"tracks_{metric.lower()}{behind}": track_spread(each, metric, LIGHT)
                      for metric in metrics_of(each.evaluation) if metric in wanted})
    return {name: figure for name, figure in drawn.items() if figure is not None}


def figures_together(runs: tp.Sequence[Run], families: tp.Iterable[Family],
                     table: tp.Sequence[baselines.Baseline]) -> tp.Tuple[Figures, tp.List[str]]:
    """(figures, notes) of several runs in comparison: all figures by file name without suffix, and sentences on the
    limits of the comparisons. Call within `themed(LIGHT)`."""
    from records.configurations import compared, configurations, spread    # scipy: as slow as drawing a figure
    drawn: Figures = {}
    notes: tp.List[str] = []
    base, *others = configurations([run for run in runs if run.evaluation is not None]) or [None]
    several = [each for each in (base, *others) if each is not None and len(each.runs) > 1]
    for family in families:
        drawn[f"scores_{family.key}"] = score_bars(groups_of(on_all_sets(runs), family, table), runs[0].sources,
                                                   f"Scores of {len(runs)} runs", LIGHT)
        changes = []
        for other in others if base is not None and not family.pooled else []:
            try:
                changes.append(compared(other, base, family))
            except DatasetError as error:
                notes.append(f"{other.name} and {base.name} in {family.key}: {error}")
                continue
            drawn[f"paired_{family.key}_{command_line.file_name(other.runs[0].name)}"] = paired_scatter(
                other.average, base.average, changes[-1], LIGHT)
            notes += changes[-1].notes
        sources = base.average.sources if base is not None else []
        drawn[f"changes_{family.key}"] = ablation_bars(changes, sources, LIGHT)
        spreads = {each.name: spread(each, family) for each in several}
        drawn[f"seeds_{family.key}"] = spread_plot(spreads, sources, LIGHT)
    return {name: figure for name, figure in drawn.items() if figure is not None}, notes


def main() -> None:
    parser = command_line.parser(__doc__, "python graphing_scripts/plot_scores.py 162f67a7 --family "
                                          "sdr_median_of_medians")
    parser.add_argument("--family", choices=sorted(EVERY_FAMILY), help="draw this family only (default: those of "
                        "papers, of Demucs's logs and of the MDX challenge, else the first one with scores)")
    command_line.add_origin_options(parser)
    arguments = parser.parse_args()
    table = baselines.load()
    runs = find_runs(arguments.runs, arguments.results)
    known = [family for run in runs for family in families_with_scores(run)]
    families = [EVERY_FAMILY[arguments.family]] if arguments.family else \
        [family for family in FAMILIES.values() if family in known] or known[:1]
    for run in runs:
        run.trained_on, run.scored_on = arguments.trained_on, arguments.scored_on
    with themed(LIGHT):
        figures, limits = (figures_of(runs[0], families, table), []) if len(runs) == 1 else \
            figures_together(runs, families, table)
        together = command_line.together(run.name for run in runs)
        if not figures:
            raise SignatureError(f"{together}: no scores to draw"
                                 + (f" in the family {arguments.family}" if arguments.family else "")
                                 + f": {advice(runs[0], families[0] if families else None)}")
        for name, figure in figures.items():
            print(*save(figure, arguments.results / "figures" / together, name), sep="\n")
    command_line.print_notes(itertools.chain(*(run.notes for run in runs), limits))


if __name__ == "__main__":
    command_line.run(main)
