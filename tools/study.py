"""Run a study, which compares trainings in equal time: `python -m tools.study pseudo_labels`.

STUDY is a YAML file, or the name of one in demucs/studies/. Datasets, trainings and models are in outputs/studies/NAME, and
the records in demucs_results/studies/NAME: study.json and the scores of every training. Prints the verdicts. A study
that was interrupted goes on with the same command. `python graphing_scripts/study_report.py NAME` draws the report.
docs/studies.md describes the file, the time limit and the verdicts.
"""

import argparse
import sys
import typing as tp
from pathlib import Path

from demucs.arguments import Parser, number
from demucs.console import INTERRUPTED, command, log_messages
from demucs.ranges import Range
from demucs.runs.layout import RESULTS

STUDIES = Path(__file__).resolve().parents[1] / "demucs" / "studies"
SCALE = Range(0, 1000, open_least=True)
SEEDS = Range(1, 1000, whole=True)


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m tools.study", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("study", metavar="STUDY", help="YAML file of the study, or the name of one in demucs/studies/")
    add("--out", type=Path, help="folder for datasets, trainings and models (default: outputs/studies/NAME)")
    add("--results", type=Path, default=RESULTS, help="folder for the records, in studies/NAME (default: %(default)s)")
    add("--scale", type=number("--scale", SCALE), default=1., metavar="FACTOR",
        help="factor on the time of all trainings, for a trial (default: %(default)g)")
    add("--seeds", type=number("--seeds", SEEDS), metavar="COUNT",
        help="only the first seeds, for a trial (default: all)")
    add("--report", action="store_true", help="train nothing: verdicts and report of a study that is finished")
    add("--page", type=Path, metavar="FILE", help="also write the results between the marks of this Markdown page")
    return parser


def run(args: argparse.Namespace) -> int:
    """Run the study and print its report. Returns the exit status. Raises DemucsError if something cannot be used."""
    import torch

    from demucs.studies import report
    from demucs.studies.description import read
    from demucs.studies.study import Study
    from demucs.studies.timed import Interrupted
    from tools import make_synthetic, pseudolabel, real_song

    tools = {"make_synthetic": make_synthetic.main, "pseudolabel": pseudolabel.main, "real_song": real_song.main}
    named = STUDIES / f"{args.study}.yaml"
    description = read(named if named.is_file() else args.study, tools).scaled(args.scale, args.seeds)
    results = args.results / "studies" / description.name
    study = Study(description, args.out or Path("outputs") / "studies" / description.name, results, tools)
    try:
        result = study.conclude() if args.report else study.run()
    except Interrupted as interrupted:
        print(f"stopped by {interrupted}: the state is saved, and the same command goes on", file=sys.stderr)
        return INTERRUPTED
    print(report.text(result, results))
    if args.page:
        report.write_page(result, results, args.page)
    print(f"\nrecord in {results / 'study.json'}; torch {torch.__version__}")
    return 0


@command()
def main(argv: tp.Optional[tp.Sequence[str]] = None) -> int:
    args = get_parser().parse_args(argv)
    log_messages()
    return run(args)


if __name__ == "__main__":
    sys.exit(main())
