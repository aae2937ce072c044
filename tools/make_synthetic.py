"""Make a synthetic dataset in the layout of MUSDB18-HQ: `python -m tools.make_synthetic OUT --train 24 --test 6`."""

import argparse
import sys
import typing as tp

from demucs.arguments import Parser, number
from demucs.console import command, log_messages
from demucs.data.synthetic.dataset import LONGEST, PROCESSES, SHORTEST, generate
from demucs.ranges import SEED, Range

SONGS = Range(0, 100_000, whole=True)
SECONDS = Range(SHORTEST, LONGEST, unit="seconds")


@command()
def main(argv: tp.Optional[tp.Sequence[str]] = None) -> int:
    parser = Parser(prog="python -m tools.make_synthetic", description=__doc__,
                    formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("out", help="folder of the dataset; made where absent, completed where interrupted")
    parser.add_argument("--train", type=number("--train", SONGS), default=24, help="number of training songs")
    parser.add_argument("--test", type=number("--test", SONGS), default=6, help="number of test songs")
    parser.add_argument("--seconds", type=number("--seconds", SECONDS), default=20., help="length of every song")
    parser.add_argument("--seed", type=number("--seed", SEED), default=1, help="the same seed gives the same bytes")
    parser.add_argument("--valid", type=number("--valid", SONGS), default=None,
                        help="training songs named like MUSDB's validation split (default: a sixth, at least 1, at most 14)")
    parser.add_argument("--processes", type=number("--processes", PROCESSES), default=None, help="default: one per core")
    args = parser.parse_args(argv)
    log_messages()
    generate(args.out, train=args.train, test=args.test, seconds=args.seconds, seed=args.seed, valid=args.valid,
             processes=args.processes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
