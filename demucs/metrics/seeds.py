"""Comparison of configurations that were trained with several seeds, and averages over such training runs.

Runs of one configuration with different seeds are a sample of its results. `compare_over_seeds` therefore treats both
songs and seeds as random: the estimate is the paired difference of the averages over seeds, and its variance is the sum
of

    songs    the bootstrap variance over songs, the same resampled songs for all runs, times N / (N - 1)
    seeds    the variance of the estimate between seeds, pooled over both configurations, times 1/n + 1/m

for N songs and n and m seeds. The interval is Student's t with the degrees of freedom of F. Satterthwaite, "An
Approximate Distribution of Estimates of Variance Components", Biometrics Bulletin 2 (1946). The interaction of songs
and seeds contributes to both terms, so the interval is slightly too wide rather than too narrow. A configuration with a
single seed is assumed to have the same variance between seeds as the other one, unless it is no training: a fixed
filter does not vary between seeds.

Only numpy and scipy are needed.
"""

import dataclasses
import typing as tp

import numpy as np
from scipy import special

from ..schema import Evaluation
from .aggregates import ALL, Family, track_values
from .bootstrap import ACROSS, FEWEST_RESAMPLES, LEVEL, RESAMPLES, Interval
from .statistics import Comparison, Difference, compare

METHOD = "songs and seeds"    # `Interval.method` of these intervals
AT_ONCE = 500                 # resamples that are computed together; limits memory


def averaged(evaluations: tp.Sequence[Evaluation], name: str) -> Evaluation:
    """Evaluation named `name` with the mean over `evaluations` of each score, for the songs that all of them have, in
    the order of the first.

    A score that is missing or undefined in one of them is None. A song is marked as ill-conditioned if it is in any of
    them. All other fields, such as frames and times, are those of the first evaluation.
    """
    tracks = [{track.name: track for track in evaluation.tracks} for evaluation in evaluations]
    made = []
    for track in evaluations[0].tracks:
        if not all(track.name in several for several in tracks):
            continue
        same = [several[track.name].scores for several in tracks]
        scores = {source: {metric: _mean([one.get(source, {}).get(metric) for one in same]) for metric in values}
                  for source, values in track.scores.items()}
        ill = any(several[track.name].ill_conditioned for several in tracks)
        made.append(dataclasses.replace(track, scores=scores, ill_conditioned=ill))
    return dataclasses.replace(evaluations[0], name=name, tracks=made)


def _mean(values: tp.Sequence[tp.Optional[float]]) -> tp.Optional[float]:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def compare_over_seeds(first: tp.Sequence[Evaluation], second: tp.Sequence[Evaluation], family: Family, *,
                       names: tp.Tuple[str, str], level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0,
                       fixed: bool = False) -> Comparison:
    """Paired comparison of two configurations, first minus second, with intervals over songs and seeds.

    There is no p-value, since the signed-rank test does not take seeds into account. If both configurations have a
    single seed, the result is that of `statistics.compare`.

    Args:
        first, second: evaluations of each configuration, one per seed, at least one.
        family: a family with one value per track, not a pooled one.
        names: names of the two configurations.
        level: confidence level of the intervals.
        resamples: number of bootstrap resamples of the songs.
        seed: seed of the bootstrap.
        fixed: the second is a separator that has no seed, with one evaluation.

    Raises:
        FamilyError, DatasetError: as `statistics.compare`.
    """
    one, other = averaged(first, names[0]), averaged(second, names[1])
    seeds = len(first) + len(second) >= 3
    # The intervals over songs alone are replaced below, so that the fewest resamples do, where their number is valid.
    fewer = seeds and FEWEST_RESAMPLES < resamples < 1e9
    found = compare(one, other, family, level=level, resamples=FEWEST_RESAMPLES if fewer else resamples, seed=seed)
    if not seeds:
        return found
    differences = {source: _over_seeds(difference, first, second, level, resamples, seed, fixed)
                   for source, difference in found.differences.items()}
    notes = [note for note in found.notes if "subtracting the two" not in note]     # refers to an interval over songs
    single = [name for name, several in zip(names, (first, *([] if fixed else [second]))) if len(several) == 1]
    if single:
        notes.append(f"{single[0]} has one seed: it is assumed to vary between seeds as much as the other.")
    return dataclasses.replace(found, differences=differences, notes=tuple(notes))


def _over_seeds(difference: Difference, first: tp.Sequence[Evaluation], second: tp.Sequence[Evaluation],
                level: float, resamples: int, seed: int, fixed: bool) -> Difference:
    sources = [difference.source] if difference.source != ALL else [
        name for name in first[0].sources if name in second[0].sources]
    scores = tuple(np.array([_scores(evaluation, difference, sources) for evaluation in several])
                   for several in (first, second))                                  # [seeds, sources, tracks] each
    over_tracks = ACROSS[difference.family.across]

    def paired(one: np.ndarray, other: np.ndarray) -> tp.Any:
        return over_tracks((one.mean(axis=0) - other.mean(axis=0)).mean(axis=0), axis=-1)

    def of_aggregates(one: np.ndarray, other: np.ndarray) -> tp.Any:
        return (over_tracks(one, axis=-1).mean(axis=(0, 1)) - over_tracks(other, axis=-1).mean(axis=(0, 1)))

    options: tp.Dict[str, tp.Any] = dict(level=level, resamples=resamples, seed=seed, fixed=fixed)
    interval = _interval(paired, *scores, **options)
    same = difference.family.across == "mean"
    return dataclasses.replace(
        difference, interval=interval, p_value=None, seeds=(len(first), len(second)),
        of_aggregates=float(of_aggregates(*scores)),
        of_aggregates_interval=interval if same else _interval(of_aggregates, *scores, **options))


def _scores(evaluation: Evaluation, difference: Difference, sources: tp.Sequence[str]) -> tp.List[tp.List[float]]:
    tracks = {track.name: track for track in evaluation.tracks}
    return [track_values([tracks[name] for name in difference.tracks], source, difference.family.metric)
            for source in sources]


def _interval(statistic: tp.Callable[[np.ndarray, np.ndarray], tp.Any], first: np.ndarray, second: np.ndarray, *,
              level: float, resamples: int, seed: int, fixed: bool) -> Interval:
    """Confidence interval over songs and seeds of `statistic(first, second)`. With `fixed`, `second` has no seeds.

    `first` and `second` are scores [seeds, sources, tracks] of the two configurations. `statistic` must also accept
    resampled scores [seeds, sources, resamples, tracks], with one result per resample.
    """
    count = first.shape[-1]
    generator = np.random.default_rng(seed)
    drawn = []
    for begin in range(0, resamples, AT_ONCE):
        songs = generator.integers(0, count, (min(AT_ONCE, resamples - begin), count))
        drawn.append(statistic(first[..., songs], second[..., songs]))
    of_songs = float(np.var(np.concatenate(drawn))) * count / (count - 1)
    free = len(first) + len(second) - 2
    by_seed = [[float(statistic(first[place:place + 1], second)) for place in range(len(first))],
               [float(statistic(first, second[place:place + 1])) for place in range(len(second))]]
    between = sum(float(np.sum((np.array(values) - np.mean(values)) ** 2)) for values in by_seed) / free
    of_seeds = between * (1 / len(first) + (0 if fixed else 1 / len(second)))
    value, variance = float(statistic(first, second)), of_songs + of_seeds
    half = 0.
    if variance > 0:
        freedom = variance ** 2 / (of_songs ** 2 / (count - 1) + of_seeds ** 2 / free)
        half = float(special.stdtrit(freedom, (1 + level) / 2)) * variance ** 0.5
    return Interval(low=value - half, high=value + half, level=level, method=METHOD, resamples=resamples, seed=seed)
