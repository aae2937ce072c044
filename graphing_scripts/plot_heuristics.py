"""How far measures of quality without references agree with true scores: what `tools/study_quality.py` found, drawn.

Two kinds of pictures. `correlations_*`: Spearman's rank correlation of every measure with nSDR and its interval, for
each source, over songs and over separators. `scatter`: what is behind it, a point per song and separator.
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
                        help="its name (a folder of demucs_results/quality), folder or file; else the newest one")
    parser.add_argument("--measures", help="which ones, with commas between them (default: all)")
    parser.add_argument("--results", type=Path, default=command_line.REPOSITORY / "demucs_results", metavar="DIR",
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
    command_line.run(main)
