"""Score songs that were already separated by any program: `python -m tools.evaluate separated/htdemucs`.

The folder contains TRACK/SOURCE.wav (or flac, mp3), with the names, sample rate, channels and lengths of the tracks of
the test set. Writes demucs_results/runs/NAME/evaluation.json (evaluation_on_SET.json for a further test set) and prints
the scores. Sources may be sums of those of the test set, such as no_vocals. Models are scored by tools.test_pretrained.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

from demucs.arguments import Parser, number
from demucs.console import command, log_messages
from demucs.evaluation import records
from demucs.evaluation.request import Request, score_files
from demucs.evaluation.shards import shard
from demucs.evaluation.test_sets import default_musdb
from demucs.models.settings import check_sources
from demucs.ranges import COUNT
from demucs.runs.layout import RESULTS
from demucs.schema import MISSING
from demucs.separation.devices import gpu_wanted


def get_parser() -> argparse.ArgumentParser:
    """Parser of this command line."""
    parser = Parser(prog="python -m tools.evaluate", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with TRACK/SOURCE.wav or test/TRACK/SOURCE.wav")
    parser.add_argument("-n", "--name", help="name of the evaluation (default: that of the folder)")
    parser.add_argument("--sources", help="sources, separated by commas (default: those of the first track)")
    add_flags(parser)
    return parser


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that every evaluation has to `parser`; `request_of` reads them."""
    add = parser.add_argument
    add("--musdb", type=Path,
        help="MUSDB18-HQ, or any folder of test/TRACK/STEM.wav or TRACK/STEM.wav (default: the test set of the data that "
             f"the model was trained on; without one $DEMUCS_MUSDB, here {default_musdb()})")
    add("--kind", default="", help="layout of the folder of --musdb, as dset.kind (default: that of --musdb)")
    add("--missing", default="", choices=MISSING, help="stems without a file, as dset.missing")
    add("--instruments", default="", metavar="FILE", help="sources of moises and slakh, as dset.instruments")
    add("--split-file", default="", metavar="FILE", help="names of the test tracks, as dset.split")
    add("--nonhq", type=Path, help="folder with compressed MUSDB18 (.stem.mp4), to score on it instead")
    add("--dataset-name", help="name of the test set in the records (default: determined from its folder)")
    add("--no-sdr", action="store_true", help="only nSDR and SI-SDR: leave out SDR, ISR, SIR and SAR in frames")
    add("-d", "--device", default="cuda" if gpu_wanted() else "cpu",
        help="device of the computation (default here: %(default)s)")
    add("--examples", type=number("--examples", COUNT), default=2,
        help="number of tracks of which an excerpt is saved (default: %(default)s)")
    add("--results", type=Path, default=RESULTS, help="folder for records (default: %(default)s)")
    add("--shard", type=shard, metavar="I/N",
        help="only part I of N, counted from 0 (default: all, or the part that evaluate_slurm.sh gives this process)")
    add("--collect", action="store_true", help="score nothing: merge the results of all shards")
    add("--again", action="store_true", help="score all tracks again, including those scored with the same settings")


def request_of(args: argparse.Namespace, name: str) -> Request:
    """Request of the evaluation `name`, with the settings in `args` of those flags of `add_flags` that `Request`
    has."""
    given = {field.name: getattr(args, field.name) for field in dataclasses.fields(Request) if hasattr(args, field.name)}
    return Request(**{**given, "name": name})


def run(args: argparse.Namespace) -> None:
    """Score the songs as `args` demand, or merge the results of all shards, and print the scores. Raises DemucsError if
    the files or the test set cannot be used."""
    request = request_of(args, args.name or args.folder.resolve().name)
    if args.collect:
        return records.finish(request.folder)
    sources = args.sources.split(",") if args.sources else None
    if sources:
        check_sources("--sources", sources)
    score_files(request, args.folder, sources)


@command()
def main() -> int:
    args = get_parser().parse_args()
    log_messages()
    run(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
