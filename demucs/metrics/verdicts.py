"""Verdicts of a study, in which several seeds of every arm were trained for the same time.

The first of two arms "helped" (or "hurt") if the interval of its paired difference to the second, over songs and seeds,
is above (or below) zero. Otherwise there is "no difference shown", which is not the same as no difference: the interval
says what may have been missed. A verdict is "inconclusive" if the comparison cannot mean what it should: an arm with
one seed, or an arm that is not shown to exceed a fixed filter, that is, one that may have learned average spectra only.

Only numpy and scipy are needed.
"""

import typing as tp

from ..errors import DatasetError
from ..schema import Evaluation, StudyComparison
from ..tables import interval_text, number
from .aggregates import ALL, Family
from .seeds import compare_over_seeds
from .statistics import Comparison, Difference

HELPED, HURT, NOT_SHOWN, INCONCLUSIVE = "helped", "hurt", "no difference shown", "inconclusive"
VERDICTS = (HELPED, HURT, NOT_SHOWN, INCONCLUSIVE)

Scored = tp.Mapping[str, tp.Sequence[Evaluation]]      # arm -> evaluations, one per seed


def overall(comparison: Comparison) -> Difference:
    """Difference of the mean over sources. Raises DatasetError if a source has too few scored songs for it."""
    if ALL not in comparison.differences:
        raise DatasetError(f"{comparison.first} and {comparison.second} have no difference in the mean over sources: "
                           f"{' '.join(comparison.notes)}")
    return comparison.differences[ALL]


def above_filter(scored: Scored, reference: Evaluation, family: Family) -> tp.List[StudyComparison]:
    """Every arm minus the fixed filter. "helped" means that the arm exceeds it.

    Raises:
        DatasetError: as `statistics.compare`.
    """
    found = []
    for arm, evaluations in scored.items():
        difference = overall(compare_over_seeds(evaluations, [reference], family, names=(arm, reference.name),
                                                fixed=True))
        low, high = difference.interval.low, difference.interval.high
        verdict = HELPED if low > 0 else HURT if high < 0 else NOT_SHOWN
        reason = {HELPED: "exceeds the fixed filter", HURT: "is below the fixed filter",
                  NOT_SHOWN: "is not shown to exceed the fixed filter"}[verdict]
        if len(evaluations) < 2:
            verdict, reason = INCONCLUSIVE, "has one seed"
        found.append(StudyComparison(arm, reference.name, difference.value, low, high, verdict, reason))
    return found


def comparisons(scored: Scored, pairs: tp.Sequence[tp.Sequence[str]], filtered: tp.Sequence[StudyComparison],
                family: Family) -> tp.List[StudyComparison]:
    """Verdicts on the first of each of `pairs` of arms, whose comparisons with the fixed filter are `filtered`.

    Raises:
        DatasetError: as `statistics.compare`.
    """
    by_arm = {item.first: item for item in filtered}
    found = []
    for first, second in pairs:
        difference = overall(compare_over_seeds(scored[first], scored[second], family, names=(first, second)))
        low, high = difference.interval.low, difference.interval.high
        weak = [arm for arm in (first, second) if by_arm[arm].verdict != HELPED]
        told = f"interval {interval_text(low, high)} dB over {difference.over}"
        if weak:
            verdict = INCONCLUSIVE
            reason = " and ".join(f"{arm} {by_arm[arm].reason}" for arm in weak)
        elif low > 0 or high < 0:
            verdict, reason = (HELPED, f"{told} is above zero") if low > 0 else (HURT, f"{told} is below zero")
        else:
            verdict = NOT_SHOWN
            reason = f"{told} contains zero: a difference of up to {number(max(-low, high))} dB may have been missed"
        found.append(StudyComparison(first, second, difference.value, low, high, verdict, reason))
    return found
