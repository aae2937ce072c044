"""Figures of a study of reference-free quality measures (tools.study_quality): agreement with true scores.

`correlations_*`: Spearman's rank correlation of every measure with nSDR, with its interval, for each source, over songs
and over separators. `scatter`: the data behind it, one point per song and separator.
"""

import argparse
from pathlib import Path

import command_line
from figures.correlations import AMONG, correlations, scatter
from figures.style import LIGHT, save, themed
from records.studies import find_study, measures_of

from demucs.arguments import Parser


def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                    epilog="example:\n  python graphing_scripts/plot_heuristics.py 4c3a4313")
    parser.add_argument("study", nargs="?",
                        help="name (a folder of demucs_results/quality), folder or file of the study (default: the "
                             "newest)")
    parser.add_argument("--measures", help="measures to draw, separated by commas (default: all)")
    parser.add_argument("--results", type=Path, default=command_line.REPOSITORY / "demucs_results", metavar="DIR",
                        help="folder with quality/ (default: demucs_results)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the figures (default: that of the study)")
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
    command_line.run(main)
