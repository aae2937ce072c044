"""Rank correlation between a quality measure and true scores.

C. Spearman, "The proof and measurement of association between two things", American Journal of Psychology 15, 1904: the
correlation of ranks, which is 1 for equal orders and -1 for reversed orders. There are two kinds, each with a
confidence interval from resampled songs (`metrics.bootstrap`):

- over tracks: which songs of one separator are separated well? The correlation over songs, averaged over separators.
- over separators: which separation of one song is the best? The correlation over separators, averaged over songs.

Pooling both would mix the two questions. The intervals cover other songs of this kind, but not other separators.
"""

import typing as tp

import numpy as np
from scipy.stats import rankdata

from ...errors import DatasetError
from ..bootstrap import LEVEL, Interval, interval_of

FEWEST = 5              # minimum number of songs and of separators
RESAMPLES = 2000


def spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of `first` and `second` along their last axis: [..., N], [..., N] -> [...], in [-1,
    1]. Ties get their mean rank.

    0 if one of the two is constant, since then it has no order.
    """
    ranks = [rankdata(values, axis=-1) - (np.shape(values)[-1] + 1) / 2 for values in (first, second)]
    power = np.sqrt(np.square(ranks[0]).sum(axis=-1) * np.square(ranks[1]).sum(axis=-1))
    return np.divide((ranks[0] * ranks[1]).sum(axis=-1), power, out=np.zeros_like(power), where=power > 0)


def over_tracks(measure: np.ndarray, score: np.ndarray, *, seed: int = 0) -> tp.Tuple[float, Interval]:
    """(mean over separators and sources of the rank correlation over songs, its confidence interval). `measure` and
    `score` are both [separators, songs] or [sources, separators, songs]. The bootstrap resamples songs.

    Songs with an undefined value (NaN) anywhere are excluded.

    Raises:
        DatasetError: if fewer than 5 songs are left.
    """
    sample = _defined(measure, score)

    def statistic(values: np.ndarray, axis: int) -> tp.Any:
        """[2, groups, ..., songs] -> [...]"""
        assert axis == -1
        return spearman(values[0], values[1]).mean(axis=0)
    return float(statistic(sample, axis=-1)), _interval(sample, statistic, seed)


def over_separators(measure: np.ndarray, score: np.ndarray, *, seed: int = 0) -> tp.Tuple[float, Interval]:
    """(mean over songs and sources of the rank correlation over separators, its confidence interval). `measure` and
    `score` are both [separators, songs] or [sources, separators, songs]. The bootstrap resamples songs.

    Songs with an undefined value (NaN) anywhere are excluded.

    Raises:
        DatasetError: if fewer than 5 songs are left, or there are fewer than 5 separators.
    """
    sources = np.reshape(measure, (-1, *np.shape(measure)[-2:])).shape[0]
    sample = _defined(measure, score)
    separators = sample.shape[1] // sources
    if separators < FEWEST:
        raise DatasetError(f"an order of {separators} separators says nothing; there must be {FEWEST}")
    by_song = sample.reshape(2, sources, separators, -1).transpose(0, 1, 3, 2)      # [2, sources, songs, separators]
    values = spearman(by_song[0], by_song[1]).mean(axis=0)
    return float(values.mean()), _interval(values, np.mean, seed)


def _defined(measure: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Both arrays as [2, groups, songs], without songs with an undefined value."""
    sample = np.stack([np.asarray(values, dtype=np.float64) for values in (measure, score)])
    sample = sample.reshape(2, -1, sample.shape[-1])
    sample = sample[..., np.isfinite(sample).all(axis=(0, 1))]
    if sample.shape[-1] < FEWEST:
        raise DatasetError(f"{sample.shape[-1]} songs have every value; a correlation needs {FEWEST}")
    return sample


def _interval(sample: np.ndarray, statistic: tp.Callable[..., tp.Any], seed: int) -> Interval:
    return interval_of(sample, statistic, level=LEVEL, method="bca", resamples=RESAMPLES, seed=seed)
