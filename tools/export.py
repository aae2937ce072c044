"""Export the best weights of trained experiments: `python -m tools.export SIG [SIG...] [-o FOLDER] [--half]`.

`--format demucs` and `--format safetensors` write the formats of Demucs 4.x: SIG.th for its --repo, SIG.safetensors for
a hub. `--format openunmix` writes a folder SIG that openunmix 1.3.0 loads. `--format torchscript` writes SIG.pt, which
programs with libtorch load without this project. `python -m tools.export_separator` makes one model from several
experiments with a target each.
"""

import argparse
import sys
from pathlib import Path

from demucs.arguments import Parser
from demucs.console import command, log_messages
from demucs.errors import DemucsError
from demucs.packages.export import FORMATS, PLAIN, export
from demucs.runs.layout import EXPERIMENTS
from demucs.runs.layout import MODELS


def bytes_of(path: Path) -> int:
    """Size of a file, or of the files in a folder."""
    return sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size


@command()
def main() -> int:
    parser = Parser(prog="python -m tools.export", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("signatures", nargs="+", metavar="SIG", help="signatures of experiments")
    parser.add_argument("-o", "--out", type=Path, default=MODELS, help="folder for the models (default: %(default)s)")
    parser.add_argument("--format", choices=list(FORMATS), default=PLAIN, help="file format (default: %(default)s)")
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument("--half", action="store_true", default=None, help="16-bit floats: half the size, "
                           "practically the same output; the default of the formats for Demucs")
    precision.add_argument("--full", dest="half", action="store_false", default=None, help="32-bit floats: the default "
                           "of the plain format. Without either, what was trained with quantisation stays quantised")
    parser.add_argument("--experiments", type=Path, default=EXPERIMENTS,
                        help="folder of the experiments (default: %(default)s)")
    args = parser.parse_args()
    log_messages()
    failed = False
    for signature in args.signatures:
        try:
            card = export(signature, args.out, kind=args.format, half=args.half, experiments=args.experiments)
        except DemucsError as error:
            failed = True
            print(f"error: {error}", file=sys.stderr)
        else:
            path = args.out / f"{signature}{FORMATS[args.format]}"
            print(f"{path}: {card.model}, {card.parameters / 1e6:.2f} million parameters, {card.precision}, "
                  f"{bytes_of(path) / 1e6:.1f} MB, {card.epochs_done} of {card.epochs} epochs")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
