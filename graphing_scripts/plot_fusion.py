"""Learnt weights and gates of runs over their epochs: which source prefers which resolution.

Models whose fusion or bottleneck weighs several spectrograms (htdemucs_n, nn, dn, or model=hybrid with such parts) have
a panel per source, and the weights at the end as bars; models with gates (htdemucs_i, s, d, d2, d4) a line per gate.
The numbers are in the run's history.json. Runs that continue one another are drawn in one figure.
"""

import command_line
from figures.fusion import gates_plot, weights_plot
from figures.style import LIGHT, save, themed
from records.chains import find_chains

from demucs.errors import SignatureError


def main() -> None:
    parser = command_line.parser(__doc__, "python graphing_scripts/plot_fusion.py 162f67a7")
    command_line.add_chain_options(parser)
    arguments = parser.parse_args()
    chains = find_chains(arguments.runs, arguments.results, experiments=arguments.experiments,
                         continued=arguments.continued)
    without = []
    with themed(LIGHT):
        for chain in chains:
            drawn = {"fusion_weights": weights_plot(chain, LIGHT), "gates": gates_plot(chain, LIGHT)}
            found = {name: figure for name, figure in drawn.items() if figure is not None}
            without += [chain] * (not found)
            for name, figure in found.items():
                print(*save(figure, arguments.results / "figures" / chain.name, name), sep="\n")
    if without:
        names = ", ".join(chain.name for chain in without)
        raise SignatureError(f"{names}: no learnt weights or gates in history.json. Only some models have them "
                             f"(htdemucs_n, nn, dn, i, s, d, d2, d4), in histories written since they are recorded")


if __name__ == "__main__":
    command_line.run(main)
