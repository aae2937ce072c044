"""Compare measures of quality without references with true scores, on songs with known sources:

    python -m tools.make_synthetic datasets/quality --train 4 --test 20 --seconds 8 --seed 20
    python -m tools.study_quality -n SIG --repo ./release_models --musdb datasets/quality

Writes demucs_results/quality/SIG/study.json, which graphing_scripts/plot_heuristics.py plots, and the tables of
docs/quality.md. With --tables, only the tables are written, from an existing record. Takes ten minutes on one core.
"""

import argparse
import sys
from pathlib import Path

import torch

from demucs import pretrained, schema
from demucs.arguments import Parser, number
from demucs.console import command, log_messages
from demucs.evaluation import quality_page, quality_study, tracks
from demucs.runs.layout import RESULTS, STUDY
from demucs.schema import QualityStudy
from demucs.separation.outputs import folder_name
from demucs.separation.settings import RANGES


def get_parser() -> argparse.ArgumentParser:
    """Parser of this command line."""
    parser = Parser(prog="python -m tools.study_quality", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    pretrained.add_model_flags(parser)
    add = parser.add_argument
    add("--musdb", type=Path, default=Path("datasets/quality"),
        help="folder with test/TRACK/SOURCE.wav and train/TRACK/SOURCE.wav (default: %(default)s)")
    add("--seed", type=number("--seed", RANGES["seed"]), default=0,
        help="seed of shifts, noise and intervals (default: %(default)s)")
    add("--overlap", type=number("--overlap", RANGES["overlap"]), default=0.25,
        help="overlap of the segments (default: %(default)s)")
    add("--results", type=Path, default=RESULTS, help="folder for the record (default: %(default)s)")
    add("--page", type=Path, default=quality_page.PAGE, help="page with the tables (default: %(default)s)")
    add("--tables", action="store_true", help="write the tables only")
    return parser


def run(args: argparse.Namespace) -> None:
    """Run the study as `args` demand, and write its record and the tables of the page; with `args.tables` only the
    tables, from the existing record. Raises DemucsError if model, songs or the page cannot be used."""
    name = folder_name(args.sig or args.name)
    out = args.results / "quality" / name / STUDY
    if not args.tables:
        model = pretrained.get_model_from_args(args)
        songs = tracks.track_folders(args.musdb, sources=model.sources)
        train = sorted(path for path in (args.musdb / "train").iterdir() if path.is_dir())
        record = quality_study.study(model, songs, train, dataset=tracks.dataset_name(args.musdb),
                                     name=name, seed=args.seed, overlap=args.overlap)
        schema.save(record, out)
    quality_page.write_tables(schema.load(QualityStudy, out), args.page)


@command()
def main() -> int:
    args = get_parser().parse_args()
    log_messages()
    torch.set_num_threads(1)
    run(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
