"""Export one Separator of Open-Unmix from experiments that trained a target each: `python -m tools.export_separator SIG
SIG... [--name NAME] [-o FOLDER]`.

Of several experiments with the same target (other seeds), the one with the smallest loss on the validation set is
taken. `demucs --repo FOLDER -n NAME` separates with the result.
"""

import argparse
import sys
from pathlib import Path

from demucs.arguments import Parser
from demucs.console import command, log_messages
from demucs.packages.export import PLAIN
from demucs.packages.openunmix_export import KIND
from demucs.packages.separator_export import export_separator
from demucs.runs.layout import EXPERIMENTS, MODELS
from tools.export import bytes_of


@command()
def main() -> int:
    parser = Parser(prog="python -m tools.export_separator", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("signatures", nargs="+", metavar="SIG",
                        help="signatures of experiments, at least one per target")
    parser.add_argument("--name", help="name of the Separator (default: openunmix_ and 8 digits)")
    parser.add_argument("-o", "--out", type=Path, default=MODELS, help="folder for the model (default: %(default)s)")
    parser.add_argument("--format", choices=[PLAIN, KIND], default=PLAIN,
                        help="plain: FOLDER/NAME.th; openunmix: a folder that openunmix loads (default: %(default)s)")
    parser.add_argument("--half", action="store_true", help="16-bit floats: half the size, practically the same output")
    parser.add_argument("--experiments", type=Path, default=EXPERIMENTS,
                        help="folder of the experiments (default: %(default)s)")
    args = parser.parse_args()
    log_messages()
    path, card = export_separator(args.signatures, args.out, name=args.name, kind=args.format, half=args.half,
                                  experiments=args.experiments)
    print(f"{path}: {card.model} of {', '.join(card.argv)}, {card.parameters / 1e6:.2f} million parameters, "
          f"{card.precision}, {bytes_of(path) / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
