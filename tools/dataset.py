"""Check whether a dataset is sound: `python -m tools.dataset check PATH`.

Reads all songs, prints a table of what is wrong, and ends with status 1 if there are errors. docs/dataset_check.md has
all checks with their thresholds.
"""

import argparse
import os
import sys
import typing as tp
from pathlib import Path

from demucs import schema
from demucs.arguments import Parser, number
from demucs.console import command, log_messages
from demucs.errors import ConfigError
from demucs.files import obstacle, write_text
from demucs.ranges import Range
from demucs.schema import MISSING, DatasetCheck

JOBS = Range(1, 1024, whole=True)
SECONDS = Range(1, 600, unit="seconds")
SHOWN = 20          # findings of a check in the table on screen


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m tools.dataset", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    check = commands.add_parser("check", help="look for faults in all songs",
                                description="Look for faults in all songs.")
    add = check.add_argument
    add("path", type=Path, metavar="PATH", help="folder of the dataset")
    add("--kind", help="kind of the dataset, as dset.kind (default: musdb or wav for a folder with train/, valid/ or "
        "test/, else all songs below)")
    add("--sources", help="sources, separated by commas (default: the stems that most songs have)")
    add("--missing", choices=MISSING, default="error", help="what a source without a file is, as dset.missing (default: "
        "%(default)s)")
    add("--instruments", default="", metavar="FILE", help="map from instruments to sources, as dset.instruments")
    add("--split", default="", metavar="FILE", help="names of the songs of each split, as dset.split")
    add("--jobs", type=number("--jobs", JOBS), default=1, help="number of processes (default: 1)")
    add("--fix-list", type=Path, metavar="FILE",
        help="write one line per finding: path, what, fix, and more, separated by tabs")
    add("--json", type=Path, metavar="FILE", help="write all measurements and findings as a record")
    add("--html", type=Path, metavar="FILE", help="write a page with pictures")
    add("--all", action="store_true", help=f"print all findings, not only {SHOWN} of each check")
    add("--model", metavar="NAME", help="separate an excerpt of every song with this model, and report stems that "
        "resemble another source")
    add("--repo", type=Path, metavar="DIR",
        help="folder of the model (default: ./release_models, then the published ones)")
    add("-d", "--device", default="cpu", help="device of the separation (default: %(default)s)")
    add("--seconds", type=number("--seconds", SECONDS), default=30.,
        help="length of the separated excerpt (default: 30)")
    return parser


def run(args: argparse.Namespace) -> DatasetCheck:
    """Check the dataset, print the table and write the files. Raises DemucsError if that is impossible."""
    from demucs.data.checks import dataset, listing
    from demucs.runs import provenance
    from tools import dataset_output as output

    for option, path in (("--fix-list", args.fix_list), ("--json", args.json), ("--html", args.html)):
        reason = obstacle(path) if path is not None else ""
        if reason:
            raise ConfigError(f"{option}={path}: {reason}")
    sources = [source.strip() for source in args.sources.split(",")] if args.sources else None
    if sources is not None and (not all(sources) or len(set(sources)) < len(sources)):
        raise ConfigError(f"--sources={args.sources}: names separated by commas, each once")
    root = args.path.absolute()
    found = listing.list_songs(root, args.kind, sources, missing=args.missing, instruments=args.instruments,
                               split=args.split)
    settings: tp.Dict[str, tp.Any] = {}
    more = None
    if args.model is not None:
        from tools import dataset_labels
        settings = {"model": args.model, "seconds": args.seconds}
        more = dataset_labels.checker(args.model, args.repo, found.sources, root=root, device=args.device,
                                      seconds=args.seconds)
    made = {"commit": provenance.commit(), "versions": provenance.versions(), "created": provenance.now()}
    record = dataset.check(found.splits, root=root, kind=found.kind, sources=found.sources, jobs=args.jobs,
                           settings=settings, more=more, provenance=made)
    print(output.text(record, None if args.all else SHOWN))
    if args.json is not None:
        schema.save(record, args.json)
        print(f"record: {args.json}")
    if args.fix_list is not None:
        write_text(args.fix_list, output.fix_list(record))
        print(f"fix list: {args.fix_list}")
    if args.html is not None:
        output.write_page(record, args.html)
        print(f"page: {args.html}")
    return record


@command()
def main(argv: tp.Optional[tp.Sequence[str]] = None) -> int:
    args = get_parser().parse_args(argv)
    log_messages()
    # Before numpy is imported: more threads cost more than they bring here, and change the last bits of sums.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    record = run(args)
    return 1 if any(finding.severity == "error" for finding in record.findings) else 0


if __name__ == "__main__":
    sys.exit(main())
