"""Score separated songs without references: `python -m tools.score_quality separated/SIG --mixtures songs/`.

The folder contains TRACK/SOURCE.wav (or flac, mp3). Prints the songs in the order of their predicted quality, the best
first, and writes all measures to a JSON record. Mixtures may be among the estimates as mixture.wav. With the model that
was used for the separation (-n or -s), songs are separated again to measure the agreement of the passes. The
reliability of each measure is documented in docs/quality.md.
"""

import argparse
import sys
import typing as tp
from pathlib import Path

from demucs import pretrained, schema
from demucs.arguments import Parser, number
from demucs.console import command, log_messages
from demucs.evaluation.quality import score_folder
from demucs.evaluation.quality_table import summary, table
from demucs.metrics.quality.measures import MEASURES
from demucs.models.settings import check_sources
from demucs.separation.settings import RANGES

PREFERRED = ("decisiveness", "leakage")      # the first available one is the default


def get_parser() -> argparse.ArgumentParser:
    """Parser of this command line, whose help lists all measures."""
    better = {1: "higher", -1: "lower"}
    listed = "\n".join(f"  {key:<17}{measure.label}; {better[measure.better]} is better; needs the {measure.needs}"
                       for key, measure in MEASURES.items())
    parser = Parser(prog="python -m tools.score_quality", description=__doc__,
                    epilog=f"measures:\n{listed}",
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    pretrained.add_model_flags(parser)
    parser.set_defaults(name=None)
    add = parser.add_argument
    add("folder", type=Path, help="folder with TRACK/SOURCE.wav")
    add("--mixtures", type=Path, metavar="DIR",
        help="folder with TRACK/mixture.wav, test/TRACK/mixture.wav or TRACK.wav")
    add("--sources", help="sources, separated by commas (default: those of the model, or of the first song)")
    add("--by", help=f"measures to rank by, separated by commas (default: {', else '.join(PREFERRED)})")
    add("--seed", type=number("--seed", RANGES["seed"]), default=0,
        help="seed of further separations (default: %(default)s)")
    add("-d", "--device", default="cpu", help="device of further separations (default: %(default)s)")
    add("--out", type=Path, metavar="FILE", help="file of the record (default: FOLDER/quality.json)")
    return parser


def run(args: argparse.Namespace) -> None:
    """Score the songs as `args` demand, print the tables and write the record. Raises DemucsError if songs or model
    cannot be used."""
    model = pretrained.get_model_from_args(args) if args.name or args.sig else None
    again = {"seed": args.seed, "device": args.device} if model is not None else {}
    sources = args.sources.split(",") if args.sources else None
    if sources:
        check_sources("--sources", sources)
    scores = score_folder(args.folder, mixtures=args.mixtures, model=model, **again,
                          sources=sources)
    by = args.by.split(",") if args.by else [key for key in PREFERRED if key in scores.measures][:1] or ["hnr"]
    print(f"{table(scores, by)}\n\n{summary(scores)}")
    out = args.out or args.folder / "quality.json"
    schema.save(scores, out)
    print(f"\nrecord in {out}")


@command()
def main(argv: tp.Optional[tp.Sequence[str]] = None) -> int:
    args = get_parser().parse_args(argv)
    log_messages()
    run(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
