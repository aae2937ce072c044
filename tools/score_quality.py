"""Judge separated songs without references: `python3 -m tools.score_quality separated/SIG --mixtures songs/`.

The folder holds TRACK/SOURCE.wav (or flac, mp3). Prints the songs in the order of their predicted quality, the best
first, and writes all measures to a JSON record. Mixtures may lie among the estimates as mixture.wav; with the model
that made the separations (-n or -s), songs are separated again to see what it repeats. What each measure is worth:
docs/quality.md.
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

PREFERRED = ("decisiveness", "leakage")      # the first that could be taken


def get_parser() -> argparse.ArgumentParser:
    better = {1: "higher", -1: "lower"}
    listed = "\n".join(f"  {key:<17}{measure.label}; {better[measure.better]} is better; needs the {measure.needs}"
                       for key, measure in MEASURES.items())
    parser = Parser(prog="python3 -m tools.score_quality", description=__doc__,
                    epilog=f"measures:\n{listed}",
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    pretrained.add_model_flags(parser)
    parser.set_defaults(name=None)
    add = parser.add_argument
    add("folder", type=Path, help="of TRACK/SOURCE.wav")
    add("--mixtures", type=Path, metavar="DIR", help="of TRACK/mixture.wav, test/TRACK/mixture.wav or TRACK.wav")
    add("--sources", help="which ones, with commas between them (default: the model's, or those of the first song)")
    add("--by", help=f"measures to rank by, with commas between them (default: {', else '.join(PREFERRED)})")
    add("--seed", type=number("--seed", RANGES["seed"]), default=0, help="of separating again (default: %(default)s)")
    add("-d", "--device", default="cpu", help="for separating again (default: %(default)s)")
    add("--out", type=Path, metavar="FILE", help="the record (default: FOLDER/quality.json)")
    return parser


def run(args: argparse.Namespace) -> None:
    """Raises DemucsError where the songs or the model are not usable."""
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
