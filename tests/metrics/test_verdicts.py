"""Verdicts of a study, computed by hand and by simulation."""

import functools

import numpy as np
import pytest
from metrics.test_statistics import evaluation
from scipy import stats

from demucs.errors import DatasetError
from demucs.metrics import verdicts
from demucs.metrics.aggregates import NSDR_MEAN
from demucs.metrics.seeds import compare_over_seeds
from demucs.metrics.verdicts import HELPED, HURT, INCONCLUSIVE, NOT_SHOWN, above_filter, comparisons

SONGS = np.array([1., 5., 2., 7., 4., 3., 6., 2.])
FILTER = evaluation("fixed filter", {"bass": list(SONGS - 1), "drums": list(SONGS - 1)})


def arm(*levels, seed=0, noise=0.05):
    """Evaluations of one seed per level; songs scatter a little."""
    rng = np.random.default_rng(seed)
    return [evaluation(f"seed {number}", {source: list(SONGS + level + rng.normal(0, noise, len(SONGS)))
                                          for source in ("bass", "drums")}) for number, level in enumerate(levels)]


def verdict(first, second, reference=FILTER):
    scored = {"first": first, "second": second}
    (found,) = comparisons(scored, [("first", "second")], above_filter(scored, reference, NSDR_MEAN), NSDR_MEAN)
    return found


def test_the_interval_of_a_fixed_separator_has_the_seeds_of_the_other_alone():
    """Songs that do not vary leave the one-sample t interval of the levels of the seeds."""
    levels = [0.3, 0.5, 0.1, 0.9]
    first = [evaluation("a", {"bass": list(SONGS + level)}) for level in levels]
    second = [evaluation("filter", {"bass": list(SONGS)})]
    found = compare_over_seeds(first, second, NSDR_MEAN, names=("a", "filter"), level=0.9, fixed=True)
    expected = stats.ttest_1samp(levels, 0).confidence_interval(0.9)
    bass = found.differences["bass"]
    assert (bass.interval.low, bass.interval.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert not any("assumed" in note for note in found.notes)
    wider = compare_over_seeds(first, second, NSDR_MEAN, names=("a", "filter"), level=0.9).differences["bass"].interval
    assert wider.high - wider.low > 1.5 * (bass.interval.high - bass.interval.low)


@pytest.mark.parametrize("first, second, expected", [
    (arm(1, 1.1, 0.9), arm(0.2, 0.3, 0.1, seed=1), HELPED), (arm(0.2, 0.3, 0.1), arm(1, 1.1, 0.9, seed=1), HURT),
    (arm(1, 1.1, 0.9), arm(1.05, 0.85, 1.1, seed=1), NOT_SHOWN),
    (arm(1, 1.1, 0.9), arm(-1, -1.1, -0.9, seed=1), INCONCLUSIVE),       # the second is no better than the filter
    (arm(-1, -0.9, -1), arm(1, 1.1, 0.9, seed=1), INCONCLUSIVE),
    (arm(-2, -2.1, -2), arm(1, 1.1, 0.9, seed=1), INCONCLUSIVE),
    (arm(1), arm(0.2, 0.3, 0.1, seed=1), INCONCLUSIVE), (arm(1), arm(0.2), INCONCLUSIVE)])
def test_verdicts(first, second, expected):
    found = verdict(first, second)
    assert found.verdict == expected
    assert found.low <= found.difference <= found.high
    reasons = {HELPED: "is above zero", HURT: "is below zero", NOT_SHOWN: "may have been missed"}
    assert reasons.get(expected, "") in found.reason


def test_what_makes_a_comparison_inconclusive_is_named():
    assert verdict(arm(1, 1.1, 0.9), arm(-1.0, -1.1, -0.9)).reason == "second is not shown to exceed the fixed filter"
    assert verdict(arm(-3, -3.1, -3), arm(-1.0, -1.1, -0.9)).reason == \
        "first is below the fixed filter and second is not shown to exceed the fixed filter"
    assert verdict(arm(1), arm(1, 1.1, 0.9)).reason == "first has one seed"
    missed = verdict(arm(1, 1.1, 0.9), arm(1.05, 0.85, 1.1, seed=1))
    assert f"up to {max(-missed.low, missed.high):.2f} dB" in missed.reason


def test_equal_arms_seldom_help_or_hurt(monkeypatch):
    """With a tenth of the resamples, which suffice for a variance."""
    monkeypatch.setattr(verdicts, "compare_over_seeds", functools.partial(compare_over_seeds, resamples=1000))
    rng = np.random.default_rng(7)
    claims = 0
    for number in range(150):
        first, second = (arm(*rng.normal(2, 0.3, 3), seed=2 * number + part, noise=0.3) for part in range(2))
        claims += verdict(first, second).verdict != NOT_SHOWN
    assert claims <= 15          # 5 % nominal


def test_too_few_songs():
    few = [evaluation("a", {"bass": [1., 2., 3.]})] * 2
    with pytest.raises(DatasetError, match="a comparison needs 5"):
        above_filter({"a": few}, few[0], NSDR_MEAN)
