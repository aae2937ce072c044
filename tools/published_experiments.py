"""Write the files of published experiments for Dora: `python -m tools.published_experiments [--tar outputs.tar.gz]`.

`dora run -f SIG` and `dora info -f SIG` of this repository do not need them. They are for programs that read
`outputs/xps/SIG/.argv.json` directly, and for other copies of Demucs, where `tar xf outputs.tar.gz` unpacks the archive
in the expected layout. Existing files are not changed.
"""

import sys
from pathlib import Path

from demucs.arguments import Parser
from demucs.console import command
from demucs.errors import ConfigError, describe_os_error
from demucs.grids._published import experiments, pack, unpack
from demucs.runs.layout import EXPERIMENTS


@command()
def main() -> int:
    parser = Parser(prog="python -m tools.published_experiments", description=__doc__)
    parser.add_argument("--outputs", type=Path, default=EXPERIMENTS.parent, help="Dora's folder (default: %(default)s)")
    parser.add_argument("--tar", type=Path, metavar="FILE", help="write the files to this archive (.tar.gz) instead")
    args = parser.parse_args()
    total = len(experiments())
    try:
        if args.tar:
            pack(args.tar)
            print(f"{args.tar}: {total} published experiments")
        else:
            written = unpack(args.outputs)
            print(f"{args.outputs / EXPERIMENTS.name}: {len(written)} published experiments written, "
                  f"{total - len(written)} were there")
    except OSError as error:
        raise ConfigError(f"cannot write {args.tar or args.outputs}: {describe_os_error(error)}") from error
    return 0


if __name__ == "__main__":
    sys.exit(main())
