"""Makes published experiments known to Dora by files: `python3 -m tools.published_experiments [--tar outputs.tar.gz]`.

`dora run -f SIG` and `dora info -f SIG` know them without this. It is for what reads `outputs/xps/SIG/.argv.json`
itself, and for other copies of Demucs, where `tar xf outputs.tar.gz` unpacks the archive as they expect it. What is
there already stays as it is.
"""

import gzip
import io
import json
import sys
import tarfile
import typing as tp
from pathlib import Path

from demucs.arguments import Parser
from demucs.console import command
from demucs.errors import ConfigError, describe_os_error
from demucs.files import atomic
from demucs.grids._published import experiments

OUTPUTS = Path("outputs")
NAME = ".argv.json"     # where Dora looks


def unpack(outputs: Path) -> tp.List[str]:
    """Write OUTPUTS/xps/SIG/.argv.json of every published experiment that has none; returns the signatures written."""
    written = []
    for signature, argv in experiments().items():
        path = outputs / "xps" / signature / NAME
        if not path.exists():
            with atomic(path) as file:
                file.write(json.dumps(argv).encode())
            written.append(signature)
    return written


def pack(archive: Path) -> None:
    """Write the archive: always the same bytes, whatever lies in `outputs`."""
    with atomic(archive) as file, gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0) as compressed, \
            tarfile.open(fileobj=compressed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for signature, argv in experiments().items():
            content = json.dumps(argv).encode()
            entry = tarfile.TarInfo(f"outputs/xps/{signature}/{NAME}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


@command()
def main() -> int:
    parser = Parser(prog="python3 -m tools.published_experiments", description=__doc__)
    parser.add_argument("--outputs", type=Path, default=OUTPUTS, help="Dora's folder (default: %(default)s)")
    parser.add_argument("--tar", type=Path, metavar="FILE", help="write them into this archive (.tar.gz) instead")
    args = parser.parse_args()
    total = len(experiments())
    try:
        if args.tar:
            pack(args.tar)
            print(f"{args.tar}: {total} published experiments")
        else:
            written = unpack(args.outputs)
            print(f"{args.outputs / 'xps'}: {len(written)} published experiments written, "
                  f"{total - len(written)} were there")
    except OSError as error:
        raise ConfigError(f"cannot write {args.tar or args.outputs}: {describe_os_error(error)}") from error
    return 0


if __name__ == "__main__":
    sys.exit(main())
