"""Whether a batch job goes on: `python3 -m tools.requeue begin SIG` before training, `... end SIG --exit CODE` after it.

`end` exits with 0 (done), 10 (again), 11 (stopped for good) or 12 (given up), and `begin` with 13 where there is nothing to
start; the line printed says why. Nothing here needs torch: a batch script calls it twice.
"""

import argparse
import os
import sys
from pathlib import Path

from demucs.arguments import Parser, number
from demucs.console import command
from demucs.errors import SignatureError
from demucs.ranges import POSITIVE, Range, from_environment
from demucs.runs.layout import EXPERIMENTS
from demucs.runs.requeue import MOST, begin, end

EXIT_STATUS = Range(0, 255, whole=True)


@command()
def main() -> int:
    parser = Parser(prog="python3 -m tools.requeue", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("moment", choices=("begin", "end"))
    parser.add_argument("signature", metavar="SIG")
    parser.add_argument("--exit", type=number("--exit", EXIT_STATUS), default=0, help="exit status of training")
    parser.add_argument("--preempted", action="store_true", help="Slurm wants the nodes for another job")
    parser.add_argument("--words", default="", help="what Slurm said about the first task that ended badly")
    parser.add_argument("--most", type=number("--most", POSITIVE),
                        default=from_environment("DEMUCS_MOST_FAILURES", MOST, POSITIVE),
                        help="starts in a row without progress (default: $DEMUCS_MOST_FAILURES, here %(default)s)")
    parser.add_argument("--experiments", type=Path, default=EXPERIMENTS, help="where runs lie (default: %(default)s)")
    parser.add_argument("--alone", action="store_true", help="the jobs of an array train different runs, and are no chain")
    args = parser.parse_args()
    chain = bool(os.environ.get("SLURM_ARRAY_JOB_ID")) and not args.alone
    if args.signature in ("", ".", "..") or args.signature != Path(args.signature).name:
        raise SignatureError(f"{args.signature!r} is not a signature")
    folder = args.experiments / args.signature
    try:
        code, reason = begin(folder, chain=chain, most=args.most) if args.moment == "begin" else end(
            folder, chain=chain, exit_status=args.exit, preempted=args.preempted, words=args.words, most=args.most)
    except OSError as error:
        print(f"error: cannot keep account of the starts of {args.signature}: {error}", file=sys.stderr)
        return 1
    print(f"{args.signature}: {reason}")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
