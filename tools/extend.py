"""The same training for more epochs: `python3 -m tools.extend SIG EPOCHS`.

The number of epochs is part of a signature, so the longer training is another experiment. It is given everything that
SIG has by now: checkpoint (weights, optimiser, averages, history, random states), history, best weights and run card.
From there on it is trained like any other, and ends as if it had been planned longer from the start. extended.json in
both folders names the other. Prints the new signature; done again, it changes nothing.
"""

import argparse
import sys

from demucs.arguments import Parser, number
from demucs.config import RANGES
from demucs.console import command
from demucs.extension import extend


@command()
def main() -> int:
    parser = Parser(prog="python3 -m tools.extend", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("signature", metavar="SIG")
    parser.add_argument("epochs", type=number("EPOCHS", RANGES["epochs"]), metavar="EPOCHS",
                        help="in all, those of SIG included")
    parser.add_argument("--check", action="store_true", help="only tell the signature, and whether it can be done")
    args = parser.parse_args()
    print(extend(args.signature, args.epochs, check=args.check))
    return 0


if __name__ == "__main__":
    sys.exit(main())
