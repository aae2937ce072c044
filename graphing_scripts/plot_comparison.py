"""Forest plot of paired differences between runs: per source and over sources, with confidence intervals.

All runs are compared with the first RUN: right of zero they are better than it. A run is called better or worse only if
the interval excludes zero. Runs whose run cards differ only in the seed are a sample of one configuration:
configurations are compared over songs and seeds, and the spread over the seeds of each is drawn, even of a single
configuration. --seeds names further seeds of the first RUN, for runs without a run card.
"""

import argparse
import typing as tp

import command_line
from figures.forest import forest_plot
from figures.seeds import spread_plot
from figures.style import LIGHT, save, themed
from records.configurations import Configuration, compared, configurations, spread
from records.readers import RECORDS_OF_A_RUN, Run, find_run
from records.scores import advice, first_family, measured

from demucs.arguments import number
from demucs.errors import ConfigError, SignatureError
from demucs.metrics.aggregates import EVERY_FAMILY, Family
from demucs.metrics.statistics import (LEVEL, METHODS, RESAMPLES, Comparison, SeedSpread, beside_seeds, compare,
                                       describe, describe_spread, seed_spread)
from demucs.ranges import SEED, SHARE, Range

SAMPLES = Range(100, 1_000_000, whole=True)


def _scored(argument: str, arguments: argparse.Namespace) -> Run:
    run = find_run(argument, arguments.results)
    if run.evaluation is None:
        evaluated = run.kind == RECORDS_OF_A_RUN
        raise SignatureError(f"{argument} has no scores per track to pair: "
                             + (advice(run) if evaluated else
                                f"it is {run.kind}; name its evaluation.json or museval's files"))
    return run


def _family(runs: tp.Sequence[Run], key: tp.Optional[str]) -> Family:
    """Family with the name `key`; None: the first one in which all runs have scores per track. Raises SignatureError,
    with the families that there are, if a run has no scores in it."""
    if key is None:
        return first_family(runs, pooled=False)
    for run in runs:
        if not measured(run, EVERY_FAMILY[key]):
            raise SignatureError(f"{run.name} has no scores in the family {key}: {advice(run, EVERY_FAMILY[key])}")
    return EVERY_FAMILY[key]


def main() -> None:
    parser = command_line.parser(__doc__, "python graphing_scripts/plot_comparison.py 4c3a4313 162f67a7 --family "
                                          "nsdr_mean")
    paired = sorted(key for key, family in EVERY_FAMILY.items() if not family.pooled)
    parser.add_argument("--family", choices=paired, help="how scores are aggregated (default: the first of nsdr_mean, "
                        "sdr_median_of_medians that all runs have)")
    parser.add_argument("--seeds", nargs="+", default=[], metavar="RUN", help="other seeds of the first RUN")
    parser.add_argument("--level", type=number("--level", SHARE), default=LEVEL,
                        help="confidence level of the intervals (default: %(default)s)")
    parser.add_argument("--method", choices=METHODS, default=METHODS[0],
                        help="method of the bootstrap, if each configuration has one seed (default: %(default)s)")
    parser.add_argument("--resamples", type=number("--resamples", SAMPLES), default=RESAMPLES,
                        help="number of bootstrap resamples (default: %(default)s)")
    parser.add_argument("--seed", type=number("--seed", SEED), default=0,
                        help="of the bootstrap (default: %(default)s)")
    arguments = parser.parse_args()
    runs = [_scored(argument, arguments) for argument in arguments.runs]
    seeds = [_scored(argument, arguments) for argument in arguments.seeds]
    if len(runs) + len(seeds) < 2 or not runs:
        raise ConfigError(f"a comparison needs at least two runs, found {len(runs) + len(seeds)}: name the one to "
                          f"compare with first, and other seeds of it, if there are, with --seeds")
    family = _family([*runs, *seeds], arguments.family)
    base, *others = configurations(runs)
    added = [run for run in seeds if run.name not in {known.name for known in base.runs}]
    base = Configuration((*base.runs, *added))
    if seeds:
        seed_spread(base.evaluations, family)      # raises an error if they are not seeds of one configuration
    options = dict(level=arguments.level, resamples=arguments.resamples, seed=arguments.seed)
    single = dict(options, method=arguments.method)
    comparisons = [compared(other, base, family, **options) if len(other.runs) + len(base.runs) > 2 else
                   compare(other.evaluations[0], base.evaluations[0], family, **single) for other in others]
    spreads = {each.name: found for each in (base, *others) if (found := spread(each, family))}
    together = command_line.together(run.name for run in (runs if others else [*runs, *added]))
    folder = arguments.results / "figures" / together
    with themed(LIGHT):
        if comparisons:
            drawn = forest_plot(comparisons, LIGHT, spreads.get(base.name))
            print(*save(drawn, folder, f"differences_{family.key}"), sep="\n")
        if spreads:
            drawn = spread_plot(spreads, base.average.sources, LIGHT)
            print(*save(drawn, folder, f"seeds_{family.key}"), sep="\n")
    for name, found in spreads.items():
        print("", f"{name}; {family.label}", *(f"  {describe_spread(each)}" for each in found.values()), sep="\n")
    for comparison in comparisons:
        print("", *told(comparison, spreads.get(base.name, {})), sep="\n")


def told(comparison: Comparison, spread: tp.Mapping[str, SeedSpread]) -> tp.Iterator[str]:
    """Lines of text with the differences, verdicts and notes of a comparison. A difference between single runs is also
    compared with `spread`, that over seeds of the base, per source."""
    yield f"{comparison.first} minus {comparison.second}; {comparison.family.label}"
    for source, difference in comparison.differences.items():
        yield f"  {describe(difference)}"
        if source in spread and difference.seeds[0] == 1:     # otherwise the interval includes the seeds of both
            yield f"    {beside_seeds(difference, spread[source])}"
    yield from (f"  note: {note}" for note in comparison.notes)


if __name__ == "__main__":
    command_line.run(main)
