"""Rank correlations equal scipy's, and their intervals have the nominal coverage."""

import numpy as np
import pytest
from scipy import stats

from demucs.errors import DatasetError
from demucs.metrics.quality.correlation import over_separators, over_tracks, spearman


@pytest.mark.parametrize("ties", [False, True])
def test_spearman_is_that_of_scipy(ties):
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 3, 12))
    if ties:
        first, second = np.round(first), np.round(second)
    expected = [stats.spearmanr(a, b).statistic for a, b in zip(first, second)]
    assert np.allclose(spearman(first, second), expected, atol=1e-12)


def test_an_order_that_is_none_agrees_with_nothing():
    assert spearman(np.ones((2, 5)), np.arange(10.).reshape(2, 5)).tolist() == [0, 0]


def test_each_question_is_about_its_own_order():
    """Songs in the same order for each separator, separators in the reverse order for each song."""
    songs, separators = np.arange(7.), np.arange(6.)[:, None]
    measure, score = songs + 100 * separators, songs - 100 * separators
    assert over_tracks(measure, score)[0] == 1 and over_separators(measure, score)[0] == -1
    for function, value in ((over_tracks, 1), (over_separators, -1)):
        rho, interval = function(measure, score)
        assert (interval.low, interval.high) == (value, value)
        assert function(np.stack([measure, -measure]), np.stack([score, score]))[0] == 0


def test_the_mean_over_sources_is_that_of_their_correlations():
    rng = np.random.default_rng(0)
    measure, score = rng.standard_normal((2, 3, 6, 9))
    for function in (over_tracks, over_separators):
        single = [function(measure[source], score[source])[0] for source in range(3)]
        assert np.isclose(function(measure, score)[0], np.mean(single), atol=1e-12)


def test_songs_with_undefined_values_are_left_out():
    rng = np.random.default_rng(0)
    measure, score = rng.standard_normal((2, 6, 9))
    measure[2, 3], score[0, 5] = np.nan, np.nan
    kept = [0, 1, 2, 4, 6, 7, 8]
    for function in (over_tracks, over_separators):
        assert function(measure, score) == function(measure[:, kept], score[:, kept])


def test_too_few_songs_or_separators_are_refused():
    rng = np.random.default_rng(0)
    for function in (over_tracks, over_separators):
        with pytest.raises(DatasetError, match="4 songs"):
            function(*rng.standard_normal((2, 6, 4)))
    with pytest.raises(DatasetError, match="4 separators"):
        over_separators(*rng.standard_normal((2, 4, 9)))


def test_the_same_seed_gives_the_same_interval():
    measure, score = np.random.default_rng(0).standard_normal((2, 6, 9))
    assert over_tracks(measure, score, seed=3) == over_tracks(measure, score, seed=3)
    assert over_tracks(measure, score, seed=3) != over_tracks(measure, score, seed=4)


def test_intervals_cover_the_true_correlation():
    """Of 40 samples of 20 songs at least 35: fewer have a chance of 2 %, for intervals that cover 95 %."""
    rng = np.random.default_rng(0)
    correlation = 0.8
    truth = 6 / np.pi * np.arcsin(correlation / 2)          # Pearson 1907
    covered = 0
    for number in range(40):
        first, noise = rng.standard_normal((2, 1, 20))
        second = correlation * first + np.sqrt(1 - correlation ** 2) * noise
        _, interval = over_tracks(first, second, seed=number)
        covered += interval.low <= truth <= interval.high
    assert covered >= 35
