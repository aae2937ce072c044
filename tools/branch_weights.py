"""Print learnt weights of branches and gates of models: `python -m tools.branch_weights FILE|SIG [...]`.

A FILE is an exported model, SIG the signature of an experiment, whose best weights so far are taken. Those of each
epoch are drawn by `python graphing_scripts/plot_fusion.py SIG`.
"""

import argparse
import sys
import typing as tp
from pathlib import Path

from demucs.arguments import Parser
from demucs.console import command
from demucs.errors import DemucsError, SignatureError
from demucs.packages import package
from demucs.runs.experiments import experiment_folder
from demucs.runs.layout import BEST, EXPERIMENTS
from demucs.schema import Combination
from demucs.tables import aligned, number


def file_of(name: str, experiments: Path) -> Path:
    """File with the weights `name`, a file or the signature of an experiment. Raises SignatureError if there is
    none."""
    if Path(name).suffix:
        return Path(name)
    found = experiment_folder(name, experiments) / BEST
    if not found.exists():
        raise SignatureError(f"experiment {name} has no weights yet: no epoch has finished ({found} is not there)")
    return found


def lines(combination: Combination) -> tp.List[str]:
    """Text of the weights, a table per parameter, and of the gates."""
    text: tp.List[str] = []
    for name, rows in combination.weights.items():
        branches = list(next(iter(rows.values())))
        text += aligned([name, *branches], [[source, *(number(row[branch], 3) for branch in branches)]
                                            for source, row in rows.items()])
    if combination.gates:
        text += aligned(["gate", "value"], [[name, number(value, 3)] for name, value in combination.gates.items()])
    return text


@command(prints=True)
def main() -> int:
    parser = Parser(prog="python -m tools.branch_weights", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="FILE|SIG", help="exported models, or signatures of experiments")
    parser.add_argument("--experiments", type=Path, default=EXPERIMENTS,
                        help="folder of the experiments (default: %(default)s)")
    args = parser.parse_args()
    failed = False
    for name in args.models:
        try:
            model = package.load(file_of(name, args.experiments))
            combination = model.combination()
            if combination is None:
                raise DemucsError(f"{name}: a model {model.zoo_name} has no learnt weights of branches, and no gates")
        except DemucsError as error:
            failed = True
            print(f"error: {error}", file=sys.stderr)
        else:
            print(f"{name} ({model.zoo_name})", *lines(combination), sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
