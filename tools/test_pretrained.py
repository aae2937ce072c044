"""Score a model or a bag of models on a test set: `python -m tools.test_pretrained --repo ./release_models -n SIG`.

A model that was trained here is scored on the test songs of its own data, unless --musdb or --nonhq names another test
set. Writes demucs_results/runs/SIG/evaluation.json (evaluation_on_NAME.json for a further test set), copies run card
and history of the run and writes example separations beside it, and prints the scores with the name of each aggregate.
The scores of each track are saved at once, so an interrupted evaluation continues where it was, and several processes
(--shard 0/4 ... 3/4) can share the work. Settings may also be given as overrides of the training configuration, such as
`test.shifts=2` or `dset.musdb=/data/musdb18hq`, which have precedence over the flags. Songs that are already separated
are scored by tools.evaluate.
"""

import argparse
import sys
from pathlib import Path

from demucs import pretrained
from demucs.arguments import Parser, number
from demucs.console import command, log_messages
from demucs.errors import ConfigError
from demucs.evaluation import records
from demucs.evaluation.request import NO_COMPRESSED_TRAINING, score_model
from demucs.evaluation_settings import KEYS, apply_overrides
from demucs.models.protocol import default_shifts
from demucs.runs.layout import EXPERIMENTS
from demucs.separation.defaults import SHIFTS, ByModel
from demucs.separation.outputs import folder_name
from demucs.separation.precision import PRECISIONS
from demucs.separation.settings import RANGES
from tools.evaluate import add_flags, request_of

SEPARATION = ("shifts", "overlap", "split", "segment", "seed")


def get_parser() -> argparse.ArgumentParser:
    """Parser of this command line."""
    parser = Parser(prog="python -m tools.test_pretrained", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("overrides", nargs="*", metavar="KEY=VALUE", help=f"overrides, with the keys {', '.join(KEYS)}")
    pretrained.add_model_flags(parser)
    add_flags(parser)
    add_separation_flags(parser)
    add("-j", "--workers", type=number("--workers", RANGES["workers"]), default=0,
        help=argparse.SUPPRESS)      # no effect; for published command lines, where museval needed processes
    add("--save", type=Path, metavar="FOLDER", help="save all estimates as FOLDER/TRACK/SOURCE.mp3")
    add("--reference-separators", action="store_true",
        help="also score silence, the mixture, and a fixed filter fitted on the training songs (no ISR, SIR and SAR)")
    add("--experiments", type=Path, default=EXPERIMENTS, help="folder of the runs (default: %(default)s)")
    return parser


def add_separation_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags for the separation by a model to `parser`."""
    add = parser.add_argument
    add("--shifts", type=number("--shifts", RANGES["shifts"]), default=SHIFTS,
        help="number of random shifts that are averaged (default: %(default)s; 0 for models of Open-Unmix)")
    add("--overlap", type=number("--overlap", RANGES["overlap"]), default=0.25,
        help="overlap of the segments (default: %(default)s)")
    add("--no-split", action="store_false", dest="split", help="do not split songs into segments")
    add("--segment", type=number("--segment", RANGES["segment"]),
        help="seconds per segment (default: that of the model)")
    add("--precision", choices=PRECISIONS, default=PRECISIONS[0],
        help="precision of separation, which is recorded: bf16 and tf32 are faster on devices that have them (default: "
             "%(default)s)")
    add("--seed", type=number("--seed", RANGES["seed"]), default=0,
        help="seed of the random shifts (default: %(default)s)")


def run(args: argparse.Namespace) -> None:
    """Score the model as `args` demand, or merge the results of all shards, and print the scores. Raises DemucsError if
    model, data or settings cannot be used."""
    apply_overrides(args, args.overrides)
    if args.workers < 0:
        raise ConfigError(f"workers={args.workers}: the number of processes must be 0 or more")
    if args.nonhq and args.reference_separators:
        raise ConfigError(NO_COMPRESSED_TRAINING)
    request = request_of(args, folder_name(args.sig or args.name))
    if args.collect:
        return records.finish(request.folder)
    model = pretrained.get_model_from_args(args)
    if isinstance(args.shifts, ByModel):
        args.shifts = default_shifts(model)
    score_model(request, model, settings={key: getattr(args, key) for key in SEPARATION}, precision=args.precision,
                save_to=args.save, references=args.reference_separators)


@command()
def main() -> int:
    args = get_parser().parse_args()
    log_messages()
    run(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
