"""Comparison of configurations over seeds: computed by hand, by simulation, and for three seeds of Demucs v2."""

import dataclasses

import numpy as np
import pytest
from metrics.test_statistics import evaluation, seeds
from scipy import stats

from demucs.errors import DatasetError
from demucs.metrics.aggregates import ALL, NSDR_MEAN, NSDR_MEDIAN, SDR_MEAN_OF_MEDIANS, SDR_MEDIAN_OF_MEDIANS
from demucs.metrics.seeds import averaged, compare_over_seeds
from demucs.metrics.statistics import UNCLEAR, compare, describe, describe_spread, seed_spread

NAMES = ("ours", "theirs")


def trainings(rng, count, songs, *, level=0., between=0.2, noise=0.3):
    """Evaluations of `count` seeds whose levels differ by `between` dB, on the same songs."""
    return [evaluation(f"{level} {number}", {"bass": list(songs + level + rng.normal(0, between)
                                                          + rng.normal(0, noise, len(songs)))}) for number in range(count)]


def test_by_hand():
    """Songs that do not vary leave the two-sample t interval of the levels of the seeds."""
    songs = np.array([1., 5., 2., 7., 4., 3.])
    ours, theirs = [0.3, 0.5, 0.1], [0., 0.2]
    first = [evaluation("a", {"bass": list(songs + level)}) for level in ours]
    second = [evaluation("b", {"bass": list(songs + level)}) for level in theirs]
    found = compare_over_seeds(first, second, NSDR_MEAN, names=NAMES, level=0.9)
    bass = found.differences["bass"]
    expected = stats.ttest_ind(ours, theirs).confidence_interval(0.9)
    assert (bass.interval.low, bass.interval.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert bass.value == pytest.approx(0.2) == bass.of_aggregates and bass.of_aggregates_interval == bass.interval
    assert (bass.seeds, bass.p_value, bass.won, found.first, found.second) == ((3, 2), None, 6, *NAMES)
    assert "over songs and seeds includes zero" in describe(bass) and "signed-rank" not in describe(bass)
    assert "3 seeds and 2 seeds" in describe(bass)


def test_the_mirror_image_and_one_seed_each():
    rng = np.random.default_rng(1)
    songs = rng.normal(5, 3, 20)
    first, second = trainings(rng, 3, songs), trainings(rng, 2, songs, level=0.5)
    for family in (NSDR_MEAN, NSDR_MEDIAN):
        there = compare_over_seeds(first, second, family, names=NAMES).differences["bass"]
        back = compare_over_seeds(second, first, family, names=NAMES).differences["bass"]
        assert there.value == pytest.approx(-back.value) and there.of_aggregates == pytest.approx(-back.of_aggregates)
        assert (there.interval.low, there.interval.high) == pytest.approx((-back.interval.high, -back.interval.low))
    alone = compare_over_seeds(first[:1], second[:1], NSDR_MEAN, names=NAMES).differences
    pair = [dataclasses.replace(item, name=name) for item, name in zip((first[0], second[0]), NAMES)]
    assert alone == compare(*pair, NSDR_MEAN).differences and alone["bass"].p_value is not None
    single = compare_over_seeds(first[:1], second, NSDR_MEAN, names=NAMES)
    assert "ours has one seed: it is assumed to vary between seeds as much as the other." in single.notes


@pytest.mark.parametrize("family, songs", [(NSDR_MEAN, 12), (NSDR_MEAN, 50), (NSDR_MEDIAN, 50)])
@pytest.mark.parametrize("counts", [(2, 2), (3, 3), (3, 1)])
def test_intervals_cover_other_songs_and_other_seeds(family, songs, counts):
    """95 % nominal, of equal configurations; an interval over songs alone claims a difference several times as often."""
    rng = np.random.default_rng(5)
    claims = {"seeds": 0, "songs": 0}
    for number in range(120):
        level = rng.normal(5, 3, songs)
        first, second = (trainings(rng, count, level) for count in counts)
        found = compare_over_seeds(first, second, family, names=NAMES, resamples=200, seed=number).differences["bass"]
        claims["seeds"] += found.verdict != UNCLEAR
        claims["songs"] += compare(averaged(first, "a"), averaged(second, "b"), family, resamples=200,
                                   seed=number).differences["bass"].verdict != UNCLEAR
    assert claims["seeds"] <= 14 and claims["songs"] > 2 * claims["seeds"]


def test_real_seeds_of_one_configuration_are_not_distinguishable():
    runs = seeds()
    for family in (SDR_MEAN_OF_MEDIANS, SDR_MEDIAN_OF_MEDIANS):
        found = compare_over_seeds(runs[:2], runs[2:], family, names=NAMES)
        assert {each.verdict for each in found.differences.values()} == {UNCLEAR}
        assert all(each.interval.low <= each.value <= each.interval.high for each in found.differences.values())
    better = seeds()
    for scores in (scores for run in better for track in run.tracks for scores in track.scores.values()):
        scores["SDR"] += 2.
    found = compare_over_seeds(better, runs, SDR_MEAN_OF_MEDIANS, names=NAMES).differences[ALL]
    assert found.verdict == "better" and found.value == pytest.approx(2.)


def test_averages_are_over_songs_that_all_have():
    first = evaluation("a", {"bass": [1., 2., None]}, names=["x", "y", "z"])
    second = evaluation("b", {"bass": [3., 5., 1.]}, names=["y", "x", "z"])
    made = averaged([first, second], "both")
    assert {track.name: track.scores["bass"]["nsdr"] for track in made.tracks} == {"x": 3., "y": 2.5, "z": None}
    assert made.name == "both"
    assert [track.name for track in averaged([first, evaluation("c", {"bass": [1.]}, names=["y"])], "n").tracks] == ["y"]


def test_too_few_songs_are_refused():
    rng = np.random.default_rng(2)
    first, second = (trainings(rng, 2, np.ones(4)) for _ in range(2))
    with pytest.raises(DatasetError, match="share 4 tracks by name; a comparison needs 5: evaluate both on at least 5 of"):
        compare_over_seeds(first, second, NSDR_MEAN, names=NAMES)


def test_a_spread_in_words():
    spread = seed_spread([evaluation(str(level), {"bass": [level] * 5}) for level in (1., 2., 4.)], NSDR_MEAN)["bass"]
    assert describe_spread(spread) == ("bass: 2.33 dB in the mean over 3 seeds, standard deviation 1.53 dB, range 3.00 dB "
                                       "(1.00 to 4.00)")
