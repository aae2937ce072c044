"""Download MUSDB18-HQ, MUSDB18 or its preview: `python -m tools.download_dataset musdb18-hq --out datasets/musdbhq`.

The archive is verified by its checksum and unpacked to OUT/train and OUT/test. An interrupted download is continued by
the same command; a dataset that is there is left as it is. Without a network, put the archive into OUT under its
published name, and the command unpacks it.
"""

import argparse
import sys
import typing as tp
from pathlib import Path

from demucs.arguments import Parser
from demucs.console import command, log_messages
from demucs.data.download import ARCHIVES, MIRROR, fetch_dataset
from demucs.downloads.meter import size

LISTED = "\n".join(f"  {name:17}{archive.title}: archive of {size(archive.length)}, {size(archive.unpacked)} unpacked"
                   for name, archive in ARCHIVES.items())


@command()
def main(argv: tp.Optional[tp.Sequence[str]] = None) -> int:
    parser = Parser(prog="python -m tools.download_dataset", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter,
                    epilog=f"datasets:\n{LISTED}\n\nThe environment variable {MIRROR} names another server: a URL to "
                           f"which the\nname of the archive is added.")
    parser.add_argument("name", choices=tuple(ARCHIVES), metavar="NAME", help="dataset, see below")
    parser.add_argument("--out", type=Path, required=True, help="folder of the dataset; created if it does not exist")
    args = parser.parse_args(argv)
    log_messages()
    fetch_dataset(args.name, args.out, elsewhere="choose another folder with --out")
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
