"""Forest plot of paired differences between runs: per source and over sources, with confidence intervals.

The first RUN is what the others are compared with: right of zero they are better than it. A run is called better or
worse only where the interval excludes zero. --seeds takes runs that differ from the first in their seed alone.
"""

import argparse
import typing as tp

import command_line
from figures.forest import forest_plot
from figures.style import LIGHT, save, themed
from records.readers import find_run

from demucs.arguments import number
from demucs.errors import ConfigError, SignatureError
from demucs.metrics.aggregates import EVERY_FAMILY, FAMILIES, Family, aggregate
from demucs.metrics.statistics import (LEVEL, METHODS, RESAMPLES, Comparison, SeedSpread, beside_seeds, compare,
                                       describe, seed_spread)
from demucs.ranges import SEED, SHARE, Range
from demucs.schema import Evaluation

SAMPLES = Range(100, 1_000_000, whole=True)


def _evaluation(argument: str, arguments: argparse.Namespace) -> Evaluation:
    run = find_run(argument, arguments.results)
    if run.evaluation is None:
        raise SignatureError(f"{argument} has no scores per track to pair: evaluate it first "
                             f"(slurm_scripts/evaluate_slurm.sh {run.name})")
    return run.evaluation


def _family(evaluations: tp.Sequence[Evaluation]) -> Family:
    """The first family that all of them have."""
    for family in FAMILIES.values():
        if all(aggregate(evaluation, family).defined for evaluation in evaluations):
            return family
    raise SignatureError(f"{', '.join(item.name for item in evaluations)} were not scored with one metric that all "
                         f"have: evaluate them with the same ones")


def main() -> None:
    parser = command_line.parser(__doc__, "python graphing_scripts/plot_comparison.py 4c3a4313 162f67a7 --family "
                                          "nsdr_mean")
    paired = sorted(key for key, family in EVERY_FAMILY.items() if not family.pooled)
    parser.add_argument("--family", choices=paired, help="how scores are aggregated (default: the first of nsdr_mean, "
                        "sdr_median_of_medians that all runs have)")
    parser.add_argument("--seeds", nargs="+", default=[], metavar="RUN", help="other seeds of the first RUN")
    parser.add_argument("--level", type=number("--level", SHARE), default=LEVEL,
                        help="of the intervals (default: %(default)s)")
    parser.add_argument("--method", choices=METHODS, default=METHODS[0], help="of the bootstrap (default: %(default)s)")
    parser.add_argument("--resamples", type=number("--resamples", SAMPLES), default=RESAMPLES,
                        help="of the bootstrap (default: %(default)s)")
    parser.add_argument("--seed", type=number("--seed", SEED), default=0, help="of the bootstrap (default: %(default)s)")
    arguments = parser.parse_args()
    if len(arguments.runs) < 2:
        raise ConfigError(f"a comparison needs at least two runs, found {len(arguments.runs)}: name the one to compare "
                          f"with first")
    base, *others = (_evaluation(argument, arguments) for argument in arguments.runs)
    family = EVERY_FAMILY[arguments.family] if arguments.family else _family([base, *others])
    comparisons = [compare(other, base, family, level=arguments.level, method=arguments.method, seed=arguments.seed,
                           resamples=arguments.resamples) for other in others]
    seeds = [_evaluation(argument, arguments) for argument in arguments.seeds]
    spread = seed_spread([base, *seeds], family) if seeds else None
    folder = arguments.results / "figures" / "+".join([base.name, *(other.name for other in others)])[:120]
    with themed(LIGHT):
        print(*save(forest_plot(comparisons, LIGHT, spread), folder, f"differences_{family.key}"), sep="\n")
    for comparison in comparisons:
        print("", *told(comparison, spread or {}), sep="\n")


def told(comparison: Comparison, spread: tp.Mapping[str, SeedSpread]) -> tp.Iterator[str]:
    """The comparison in lines of text."""
    yield f"{comparison.first} minus {comparison.second}; {comparison.family.label}"
    for source, difference in comparison.differences.items():
        yield f"  {describe(difference)}"
        if source in spread:
            yield f"    {beside_seeds(difference, spread[source])}"
    yield from (f"  note: {note}" for note in comparison.notes)


if __name__ == "__main__":
    command_line.run(main)
