"""Extend a training to more epochs: `python -m tools.extend SIG EPOCHS`.

The number of epochs is part of a signature, so the longer training is another experiment. It starts from copies of the
current files of SIG: checkpoint (weights, optimiser, averages, history, random states), history, best weights and run
card. It is then trained like any other experiment, with the same result as if it had been planned for more epochs from
the start. extended.json in each of the two folders names the other one. Prints the new signature. Repeated calls have
no effect.
"""

import argparse
import sys

from demucs.arguments import Parser, number
from demucs.config import RANGES
from demucs.console import command
from demucs.extension import extend


@command()
def main() -> int:
    parser = Parser(prog="python -m tools.extend", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("signature", metavar="SIG")
    parser.add_argument("epochs", type=number("EPOCHS", RANGES["epochs"]), metavar="EPOCHS",
                        help="total number of epochs, including those of SIG")
    parser.add_argument("--check", action="store_true", help="only print the signature, and check that it is possible")
    args = parser.parse_args()
    print(extend(args.signature, args.epochs, check=args.check))
    return 0


if __name__ == "__main__":
    sys.exit(main())
