"""The signature of an experiment before anything runs: `python3 -m tools.signature [-f SIG] [KEY=VALUE...]`.

It is the name of the folder in outputs/xps. With --ranks it also checks what can be known before a training waits in a
queue (batch, remixing, songs, free space), and a second line names the folder of the songs that the model will be scored
on. Exits with 1 for settings that do not exist or cannot be, with 3 where the
packages that tell it are not installed (on a login node, perhaps) and no experiment was started with these overrides.
"""

import argparse
import os
import sys

from demucs.arguments import Parser, number
from demucs.console import command
from demucs.ranges import WORLD_SIZE
from demucs.signature import signature


@command(prints=True)
def main() -> int:
    parser = Parser(prog="python3 -m tools.signature", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-f", "--from-sig", metavar="SIG", help="on top of the settings of this experiment")
    parser.add_argument("--again", action="store_true", help="of a job that has been started before: take the known one")
    parser.add_argument("--ranks", type=number("--ranks", WORLD_SIZE), metavar="N",
                        default=os.environ.get("DEMUCS_CHECK_RANKS") or None,
                        help="check a training in N processes (default: $DEMUCS_CHECK_RANKS)")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    args = parser.parse_args()
    try:
        print(signature(args.overrides, args.from_sig, again=args.again, ranks=args.ranks))
    except ImportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
