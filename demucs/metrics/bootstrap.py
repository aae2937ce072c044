"""Bootstrap confidence intervals of a mean or median over tracks.

Tracks are drawn with replacement, as many as there are, and the statistic is computed anew each time; the interval ends
at quantiles of what comes out. "percentile" takes the nominal quantiles; "bca" (bias-corrected and accelerated) moves
them by how far the statistic is from the middle of its resamples, and by how much single tracks pull at it.
From B. Efron, "Better Bootstrap Confidence Intervals", JASA 82 (1987).

Both come out too narrow for few tracks: a 95 % interval of the mean covers 85 % with 5 tracks and 90 % with 12, in
simulations with normal, heavy-tailed and skewed differences. So the quantiles are first moved outwards, by what the
same defect costs an interval of a normal sample (the expanded percentile interval of T. Hesterberg, "What Teachers
Should Know About the Bootstrap", The American Statistician 69, 2015); then it covers 91 % with 5 tracks and 93 % with
12. The percentile interval is the default, since of 50 heavy-tailed differences it covers 94 %, the BCa interval 91 %.

Numpy and scipy only.
"""

import typing as tp
from dataclasses import dataclass

import numpy as np
from scipy import special

from ..errors import ConfigError, DatasetError
from ..ranges import SEED

LEVEL = 0.95
RESAMPLES = 10_000
METHODS = ("percentile", "bca")
ACROSS: tp.Dict[str, tp.Callable[..., tp.Any]] = {"mean": np.mean, "median": np.median}


@dataclass(frozen=True)
class Interval:
    """A bootstrap confidence interval from `low` to `high`, in dB."""
    low: float
    high: float
    level: float       # e.g. 0.95
    method: str        # "percentile" or "bca"
    resamples: int
    seed: int

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def bootstrap_interval(values: tp.Sequence[float], across: str, *, level: float = LEVEL, method: str = METHODS[0],
                       resamples: int = RESAMPLES, seed: int = 0, expand: bool = True) -> Interval:
    """The interval of the "mean" or "median" (`across`) of `values` [N], by drawing N of them with replacement.

    The same values and seed give the same interval; without `expand`, that of `scipy.stats.bootstrap` with that seed.
    Values that are all equal give an interval without width.

    Raises ConfigError for an unknown method, a level outside (0, 1) or fewer than 100 resamples, DatasetError for fewer
    than two values or one that is not finite.
    """
    return interval_of(np.asarray(values, dtype=np.float64), ACROSS[across], level=level, method=method,
                       resamples=resamples, seed=seed, expand=expand)


def interval_of(sample: np.ndarray, statistic: tp.Callable[..., tp.Any], *, level: float, method: str, resamples: int,
                seed: int, expand: bool = True) -> Interval:
    """The interval of `statistic(sample, axis=-1)`, a number from N tracks along the last axis of `sample` [..., N].

    What is drawn is whole tracks: everything at the same place of the last axis stays together. Raises as
    `bootstrap_interval` does.
    """
    if method not in METHODS:
        raise ConfigError(f"unknown bootstrap method {method!r}; there are: {', '.join(METHODS)}")
    SEED.check("seed", seed)
    if not 0 < level < 1 or not 100 <= resamples < 1e9:
        raise ConfigError(f"level={level}, resamples={resamples}: the level lies between 0 and 1, e.g. 0.95, and fewer "
                          f"than 100 resamples tell nothing")
    size = sample.shape[-1]
    if size < 2 or not np.isfinite(sample).all():
        raise DatasetError(f"an interval needs at least two differences, all of them finite; found {size}")
    drawn = np.random.default_rng(seed).integers(0, size, (resamples, size))
    resampled = statistic(sample[..., drawn], axis=-1)
    tail = (1 - level) / 2
    if expand:   # a resample spreads less than the population, by sqrt((N - 1) / N), and its width is an estimate: t
        tail = special.ndtr(-special.stdtrit(size - 1, 1 - tail) * (size / (size - 1)) ** 0.5)
    tails = np.array([tail, 1 - tail])
    if method == "bca":
        without_one = [statistic(np.delete(sample, place, axis=-1), axis=-1) for place in range(size)]
        tails = _bca_tails(statistic(sample, axis=-1), np.array(without_one), resampled, tails)
    low, high = np.quantile(resampled, tails)
    return Interval(low=float(low), high=float(high), level=level, method=method, resamples=resamples, seed=seed)


def _bca_tails(observed: float, without_one: np.ndarray, resampled: np.ndarray, tails: np.ndarray) -> np.ndarray:
    """The quantiles of the resampled statistic where a BCa interval ends, for nominal `tails` (Efron 1987, eq. 2.3).

    `without_one` [N] has the statistic without each of the tracks in turn.
    """
    bias = special.ndtri((np.mean(resampled < observed) + np.mean(resampled <= observed)) / 2)
    pulls = without_one.mean() - without_one
    size = np.sum(pulls ** 2) ** 1.5
    acceleration = np.sum(pulls ** 3) / (6 * size) if size > 0 else 0.   # no track matters: no skew to correct
    shifted = bias + special.ndtri(tails)
    return special.ndtr(bias + shifted / (1 - acceleration * shifted))
