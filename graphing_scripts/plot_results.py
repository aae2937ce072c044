"""Training curves of runs, from their histories: loss, nSDR per source, SVD penalty, gradient norm, model size.

Runs that continue one another are drawn in one figure, with a line where the next one starts. Other runs have a figure
each, and one together. Results of published Demucs are read, too: a history.json, a solver's log, printed results, or a
folder of them.
"""

import typing as tp

import command_line
from figures.curves import comparison_curves, tested_curves, training_curves
from figures.style import LIGHT, save, themed
from records.chains import Chain, find_chains

from demucs.errors import SignatureError

NAME = "training_curves"


def figures_of(chain: Chain) -> tp.Dict[str, tp.Any]:
    """Figures of the training of one chain, by file name without suffix; empty without a history. Call within
    `themed(LIGHT)`."""
    drawn = {NAME: training_curves(chain, LIGHT) if chain.history else None,
             "tested_curves": tested_curves(chain, LIGHT)}
    return {name: figure for name, figure in drawn.items() if figure is not None}


def main() -> None:
    parser = command_line.parser(__doc__, "python graphing_scripts/plot_results.py 162f67a7")
    command_line.add_chain_options(parser)
    arguments = parser.parse_args()
    chains = find_chains(arguments.runs, arguments.results, experiments=arguments.experiments,
                         continued=arguments.continued)
    with themed(LIGHT):
        for chain in chains:
            figures = figures_of(chain)
            if not figures and len(chains) == 1:
                raise SignatureError(f"{chain.name} has no history.json: there are no curves to draw")
            for name, figure in figures.items():
                print(*save(figure, arguments.results / "figures" / chain.name, name), sep="\n")
            command_line.print_notes(note for part in chain.parts for note in part.run.notes)
        together = comparison_curves(chains, LIGHT)
        if together is not None:
            folder = arguments.results / "figures" / command_line.together(chain.name for chain in chains)
            print(*save(together, folder, "validation_curves"), sep="\n")


if __name__ == "__main__":
    command_line.run(main)
