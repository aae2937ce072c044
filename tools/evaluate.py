"""Score songs that were separated already, by whatever program: `python3 -m tools.evaluate separated/htdemucs`.

The folder holds TRACK/SOURCE.wav (or flac, mp3), with the names, rate, channels and length of the test set's tracks.
Writes demucs_results/runs/NAME/evaluation.json (evaluation_on_SET.json for a further test set) and prints the
scores. Sources may be sums of the test set's, such as no_vocals. Models are scored by tools.test_pretrained.
"""

import argparse
import logging
import sys
from pathlib import Path

from demucs import schema
from demucs.arguments import Parser
from demucs.console import command
from demucs.errors import ConfigError
from demucs.evaluation import records
from demucs.evaluation.separated import SeparatedFolder
from demucs.models.settings import check_sources
from demucs.schema import SEPARATED, Evaluation


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python3 -m tools.evaluate", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with TRACK/SOURCE.wav or test/TRACK/SOURCE.wav")
    parser.add_argument("-n", "--name", help="of the evaluation (default: that of the folder)")
    parser.add_argument("--sources", help="which ones, with commas between them (default: those of the first track)")
    records.add_flags(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Raises DemucsError where the files or the test set are not usable."""
    name = args.name or args.folder.resolve().name
    folder = args.results / "runs" / name
    if args.collect:
        return records.report(records.collect_records(folder), folder)
    sources = args.sources.split(",") if args.sources else None
    if sources:
        check_sources("--sources", sources)
    separator = SeparatedFolder(args.folder, sources=sources)
    there = folder / f"{records.RECORD}.json"
    if there.exists() and schema.load(Evaluation, there).model != SEPARATED:
        raise ConfigError(f"{there} is the evaluation of a model; choose another name with --name")
    songs = records.songs_of(args, separator.sources, records.place_of(args, args.folder.resolve().name))
    record = records.record_of(folder, songs)
    evaluation = records.evaluate(
        separator, songs, name=name, folder=folder, args=args, settings={"files": separator.formats},
        metrics=records.WHOLE if args.no_sdr else records.ALL, record=record,
        examples=records.examples_of(args, name, record))
    records.report([evaluation], folder)


@command()
def main() -> int:
    args = get_parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    run(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
