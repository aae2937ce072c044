"""Bootstrap confidence intervals of a mean or median over tracks.

Each resample draws as many tracks as there are, with replacement, and the statistic is computed on it. The ends of the
interval are quantiles of the statistic over all resamples. "percentile" uses the nominal quantiles. "bca"
(bias-corrected and accelerated) shifts them by the bias of the statistic relative to the median of its resamples, and
by an acceleration from the influence of single tracks. From B. Efron, "Better Bootstrap Confidence Intervals", JASA 82
(1987).

Both are too narrow for few tracks: a 95 % interval of the mean covers 85 % with 5 tracks and 90 % with 12, in
simulations with normal, heavy-tailed and skewed differences. So the quantiles are first moved outwards, by the
correction for the same bias of a normal sample (the expanded percentile interval of T. Hesterberg, "What Teachers
Should Know About the Bootstrap", The American Statistician 69, 2015). Then the interval covers 91 % with 5 tracks and
93 % with 12. The percentile interval is the default: with 50 heavy-tailed differences it covers 94 %, the BCa interval
91 %.

Only numpy and scipy are needed.
"""

import typing as tp
from dataclasses import dataclass

import numpy as np
from scipy import special

from ..errors import ConfigError, DatasetError
from ..ranges import SEED

LEVEL = 0.95
RESAMPLES = 10_000
FEWEST_RESAMPLES = 100
METHODS = ("percentile", "bca")
ACROSS: tp.Dict[str, tp.Callable[..., tp.Any]] = {"mean": np.mean, "median": np.median}


@dataclass(frozen=True)
class Interval:
    """Bootstrap confidence interval from `low` to `high`. `level` is its nominal coverage. `method` is "percentile" or
    "bca", or "songs and seeds" for the intervals of `seeds`. `resamples` and `seed` are those of the bootstrap."""
    low: float
    high: float
    level: float       # e.g. 0.95
    method: str        # "percentile" or "bca"
    resamples: int
    seed: int

    @property
    def excludes_zero(self) -> bool:
        """Whether zero is outside of the interval; an end at exactly zero counts as inside."""
        return self.low > 0 or self.high < 0


def bootstrap_interval(values: tp.Sequence[float], across: str, *, level: float = LEVEL, method: str = METHODS[0],
                       resamples: int = RESAMPLES, seed: int = 0, expand: bool = True) -> Interval:
    """Confidence interval of the mean or median of `values` [N], by resampling N of them with replacement.

    The same values and seed give the same interval. Without `expand` it equals that of `scipy.stats.bootstrap` with the
    same seed; with it, the quantiles are first moved outwards (see the top of this module). Values that are all equal
    give an interval of zero width.

    Args:
        values: at least two finite numbers, one per track.
        across: "mean" or "median".
        level: confidence level, between 0 and 1.
        method: "percentile" or "bca".
        resamples: number of resamples, at least 100.
        seed: random seed.
        expand: correct the interval for small N.

    Raises:
        ConfigError: for an unknown method, a level outside (0, 1), fewer than 100 resamples or an invalid seed.
        DatasetError: for fewer than two values, or one that is not finite.
    """
    return interval_of(np.asarray(values, dtype=np.float64), ACROSS[across], level=level, method=method,
                       resamples=resamples, seed=seed, expand=expand)


def interval_of(sample: np.ndarray, statistic: tp.Callable[..., tp.Any], *, level: float, method: str, resamples: int,
                seed: int, expand: bool = True) -> Interval:
    """Confidence interval of a number computed from N tracks. `statistic(values, axis=-1)` computes it from arrays like
    `sample` [..., N], whose last axis is the tracks; it must also accept resampled arrays [..., resamples, N], and then
    returns one number per resample.

    Whole tracks are resampled: all values at the same index of the last axis stay together. All other arguments and the
    errors are those of `bootstrap_interval`.
    """
    if method not in METHODS:
        raise ConfigError(f"unknown bootstrap method {method!r}; there are: {', '.join(METHODS)}")
    SEED.check("seed", seed)
    if not 0 < level < 1 or not FEWEST_RESAMPLES <= resamples < 1e9:
        raise ConfigError(f"level={level}, resamples={resamples}: the level lies between 0 and 1, e.g. 0.95, and fewer "
                          f"than {FEWEST_RESAMPLES} resamples tell nothing")
    size = sample.shape[-1]
    if size < 2 or not np.isfinite(sample).all():
        raise DatasetError(f"an interval needs at least two differences, all of them finite; found {size}")
    drawn = np.random.default_rng(seed).integers(0, size, (resamples, size))
    resampled = statistic(sample[..., drawn], axis=-1)
    tail = (1 - level) / 2
    if expand:   # resamples have a smaller std than the population, by sqrt((N - 1) / N), and it is an estimate: use t
        tail = special.ndtr(-special.stdtrit(size - 1, 1 - tail) * (size / (size - 1)) ** 0.5)
    tails = np.array([tail, 1 - tail])
    if method == "bca":
        without_one = [statistic(np.delete(sample, index, axis=-1), axis=-1) for index in range(size)]
        tails = _bca_tails(statistic(sample, axis=-1), np.array(without_one), resampled, tails)
    low, high = np.quantile(resampled, tails)
    return Interval(low=float(low), high=float(high), level=level, method=method, resamples=resamples, seed=seed)


def _bca_tails(observed: float, without_one: np.ndarray, resampled: np.ndarray, tails: np.ndarray) -> np.ndarray:
    """Quantiles of the resampled statistic at the ends of a BCa interval, for nominal `tails` (Efron 1987, eq. 2.3).

    `without_one` [N] are the jackknife values: the statistic without each of the tracks in turn.
    """
    bias = special.ndtri((np.mean(resampled < observed) + np.mean(resampled <= observed)) / 2)
    influences = without_one.mean() - without_one
    size = np.sum(influences ** 2) ** 1.5
    acceleration = np.sum(influences ** 3) / (6 * size) if size > 0 else 0.   # no influence of any track: no skew
    shifted = bias + special.ndtri(tails)
    return special.ndtr(bias + shifted / (1 - acceleration * shifted))
