"""Score songs that were separated already, by whatever program: `python3 -m tools.evaluate separated/htdemucs`.

The folder holds TRACK/SOURCE.wav (or flac, mp3), with the names, rate, channels and length of the test set's tracks.
Writes demucs_results/runs/NAME/evaluation.json (evaluation_on_SET.json for a further test set) and prints the
scores. Sources may be sums of the test set's, such as no_vocals. Models are scored by tools.test_pretrained.
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
from demucs.separation.devices import gpu_wanted


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python3 -m tools.evaluate", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with TRACK/SOURCE.wav or test/TRACK/SOURCE.wav")
    parser.add_argument("-n", "--name", help="of the evaluation (default: that of the folder)")
    parser.add_argument("--sources", help="which ones, with commas between them (default: those of the first track)")
    add_flags(parser)
    return parser


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of every evaluation, see `request_of`."""
    add = parser.add_argument
    add("--musdb", type=Path,
        help="MUSDB18-HQ, or any folder of test/TRACK/STEM.wav or TRACK/STEM.wav (default: the test set of the data that "
             f"the model was trained on; without one $DEMUCS_MUSDB, here {default_musdb()})")
    add("--nonhq", type=Path, help="score on compressed MUSDB18 (.stem.mp4) in this folder instead")
    add("--dataset-name", help="what to call the test set in the records (default: found out)")
    add("--no-sdr", action="store_true", help="only nSDR and SI-SDR: leave out SDR, ISR, SIR and SAR in frames")
    add("-d", "--device", default="cuda" if gpu_wanted() else "cpu", help="(here by default: %(default)s)")
    add("--examples", type=number("--examples", COUNT), default=2,
        help="tracks of which an excerpt is kept (default: %(default)s)")
    add("--results", type=Path, default=RESULTS, help="where records go (default: %(default)s)")
    add("--shard", type=shard, metavar="I/N",
        help="only part I of N, from 0/N on (default: all, or what evaluate_slurm.sh gives this process)")
    add("--collect", action="store_true", help="score nothing: put together what all shards have left")
    add("--again", action="store_true", help="score all tracks, also those that were scored before with these settings")


def request_of(args: argparse.Namespace, name: str) -> Request:
    """The evaluation `name` that the flags of `add_flags` mean."""
    given = {field.name: getattr(args, field.name) for field in dataclasses.fields(Request) if hasattr(args, field.name)}
    return Request(**{**given, "name": name})


def run(args: argparse.Namespace) -> None:
    """Raises DemucsError where the files or the test set are not usable."""
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
