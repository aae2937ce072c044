"""Self-contained HTML report of a study (tools.study): answer, arms, comparisons, limits, trainings, songs.

The page needs no server and no network. All its content comes from the records of the study.
"""

import argparse
from pathlib import Path

import command_line
from pages import study_sections as sections
from pages.elements import contents, page, section
from records.comparisons import ArmStudy, find

from demucs.arguments import Parser
from demucs.files import write_text

FOOTER = "<footer>Drawn by graphing_scripts/study_report.py from the records of the study.</footer>"


def report(study: ArmStudy) -> str:
    """HTML report of a study."""
    body = "".join([
        section("Arms", sections.arms(study)), section("Comparisons", sections.comparisons(study)),
        section("Limits", sections.limits(study)), section("Trainings", sections.trainings(study)),
        section("Track by track", sections.songs(study)), section("How it was made", sections.settings(study))])
    return page(f"Study {study.result.name}", sections.head(study) + contents(body) + body + FOOTER)


def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                    epilog="example:\n  python graphing_scripts/study_report.py pseudo_labels")
    parser.add_argument("study", nargs="?", metavar="STUDY",
                        help="name (a folder of demucs_results/studies), folder or file (default: the newest)")
    parser.add_argument("--results", type=Path, default=command_line.REPOSITORY / "demucs_results", metavar="DIR",
                        help="folder with studies/ (default: demucs_results)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page (default: report.html beside the record)")
    arguments = parser.parse_args()
    study = find(arguments.study, arguments.results)
    out = arguments.out or study.folder / "report.html"
    write_text(out, report(study))
    print(out)


if __name__ == "__main__":
    command_line.run(main)
