"""Print the signature of an experiment before its training: `python -m tools.signature [-f SIG] [KEY=VALUE...]`.

The signature is the name of the folder in outputs/xps. With --ranks, the training is also checked before it is queued
(batch, remixing, songs, free space), and a second line has the folder of the test songs of its evaluation. Exits with 1
for unknown or invalid settings. Exits with 3 if the required packages are not installed (perhaps on a login node) and
no experiment was started with these overrides before.
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
    parser = Parser(prog="python -m tools.signature", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-f", "--from-sig", metavar="SIG", help="add the overrides to those of this experiment")
    parser.add_argument("--again", action="store_true",
                        help="for a job that was started before: print the signature of the known experiment")
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
