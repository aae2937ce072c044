"""Scores of models against their costs: published scores, evaluations of runs, and studies.

Costs come from the JSON files that `python -m tools.complexity --json` printed. With --page the table of scores and
costs is written into that page, between the lines `<!-- scores by cost -->` and `<!-- end -->`; else it is printed.
"""

import argparse
import re
import typing as tp
from pathlib import Path

import command_line
from figures.costs import scores_by_cost
from figures.style import LIGHT, save, themed
from records import baselines
from records.costs import Group, groups

from demucs.errors import SignatureError
from demucs.files import write_text
from demucs.schema import load_costs
from demucs.tables import DASH, markdown, number

COSTS = command_line.REPOSITORY / "demucs_results" / "costs"
MARKS = re.compile(r"(<!-- scores by cost -->\n).*?(<!-- end -->)", re.DOTALL)


def table(found: tp.Sequence[Group]) -> str:
    """Markdown table of the points of all groups, the best first within a group."""
    rows = [[group.test_set, group.family.label, point.label, point.training_data or DASH, number(point.score),
             f"{point.macs / 1e9:.2f}", f"{point.parameters / 1e6:.2f} million"]
            for group in found for point in group.points]
    return markdown(["test songs", "score", "model", "trained on", "dB", "GMAC/s", "parameters"], rows, "llllrrr")


def main() -> None:
    parser = command_line.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                 epilog="example:\n  python graphing_scripts/plot_costs.py --page docs/models.md")
    parser.add_argument("costs", nargs="*", type=Path, metavar="FILE",
                        help="costs of models (default: all files in demucs_results/costs)")
    parser.add_argument("--results", type=Path, default=command_line.REPOSITORY / "demucs_results", metavar="DIR",
                        help="folder with runs/, studies/ and figures/ (default: demucs_results)")
    parser.add_argument("--page", type=Path, metavar="PAGE", help="write the table into this page")
    arguments = parser.parse_args()
    files = arguments.costs or sorted(COSTS.glob("*.json"))
    found = groups([cost for path in files for cost in load_costs(path)], baselines.load(), arguments.results)
    if not found:
        raise SignatureError(f"no model in {', '.join(map(str, files)) or COSTS} has scores: count the costs of all "
                             f"models, `python -m tools.complexity --json`")
    if arguments.page:
        text = arguments.page.read_text(encoding="utf-8")
        write_text(arguments.page, MARKS.sub(lambda match: f"{match[1]}{table(found)}\n{match[2]}", text))
    else:
        print(table(found))
    with themed(LIGHT):
        figure = scores_by_cost(found, LIGHT)
        if figure is not None:
            print(*save(figure, arguments.results / "figures" / "costs", "scores_by_cost"), sep="\n")


if __name__ == "__main__":
    command_line.run(main)
