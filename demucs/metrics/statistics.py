"""Statistical significance of the difference of two results: paired differences, confidence intervals, tests, seeds.

Two separators scored on the same songs are compared song by song, because songs differ far more than separators do. For
each source, and for the mean over sources of each song, `compare` computes the mean or median of the differences (that
of the family over tracks) with a bootstrap confidence interval, Wilcoxon's signed-rank test, and the number of songs
won. `verdict` is "better" or "worse" only if the interval excludes zero; the p value is a second view of the same songs
and decides nothing.

An interval covers other songs of this kind, for the same weights. It does not cover another training run of the same
configuration: `seed_spread` measures that, and the intervals of `seeds.compare_over_seeds` include it. Intervals are
per source and not corrected for multiple comparisons: of equal separators with four sources, about one pair in five has
a 95 % interval that excludes zero.

The test is from F. Wilcoxon, "Individual Comparisons by Ranking Methods", Biometrics Bulletin 1 (1945); the intervals
are described in `bootstrap`.

Only numpy and scipy are needed: the graphing scripts use this module without torch.
"""

import typing as tp
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ..errors import DatasetError
from ..schema import Evaluation, TrackScores
from ..tables import interval_text, number, p_text
from .aggregates import ALL, Family, FamilyError, aggregate
from .bootstrap import ACROSS, LEVEL, METHODS, RESAMPLES, Interval, bootstrap_interval, interval_of

FEWEST = 5      # minimum number of tracks of a bootstrap interval
FEW = 10        # with fewer tracks, intervals of 95 % cover a little less than 95 %, see `bootstrap`
TIE = 0.005     # dB: smaller differences, which two decimals cannot show, are ties

__all__ = ["LEVEL", "METHODS", "RESAMPLES", "Interval", "bootstrap_interval", "Difference", "Comparison", "SeedSpread",
           "compare", "seed_spread", "signed_rank", "verdict", "basis", "describe", "describe_spread", "beside_seeds",
           "FEWEST", "FEW", "TIE", "BETTER", "WORSE", "UNCLEAR"]

BETTER, WORSE, UNCLEAR = "better", "worse", "not distinguishable"


@dataclass(frozen=True)
class Difference:
    """Paired difference of two evaluations, first minus second, for one source or for "all" (the mean over sources of
    each track), in one family.

    `values` are the differences per track in dB, in the order of `tracks`; `value` is their mean or median (the
    family's `across`), to which `interval` and the verdict refer. `of_aggregates` is the difference of the two
    aggregates of these tracks, as in a comparison of two tables. For a mean it is the same number, for a median it is
    not, since the medians of the two separators may be different songs. `of_aggregates_interval` resamples the same
    songs for both. `p_value` is that of Wilcoxon's two-sided signed-rank test, None if the interval is over seeds too.

    `won`, `lost` and `tied` are numbers of tracks: better by more than `TIE` dB, worse by more than `TIE` dB, and the
    rest. `dropped` is that of tracks without a score in one of the two. `seeds` are the numbers of training runs that
    the two averages are over.
    """
    source: str
    family: Family
    tracks: tp.Tuple[str, ...]
    values: tp.Tuple[float, ...]
    value: float
    interval: Interval
    of_aggregates: float
    of_aggregates_interval: Interval
    p_value: tp.Optional[float]
    won: int
    lost: int
    tied: int
    dropped: int
    seeds: tp.Tuple[int, int] = (1, 1)

    @property
    def verdict(self) -> str:
        """Verdict on the first evaluation, "better", "worse" or "not distinguishable"; see the function `verdict`."""
        return verdict(self)

    @property
    def over(self) -> str:
        """What the interval treats as samples: "songs" or "songs and seeds"."""
        return "songs" if self.seeds == (1, 1) else "songs and seeds"


@dataclass(frozen=True)
class Comparison:
    """Comparison of two evaluations on their common tracks. `differences` has the sources, in the order of the first,
    then "all"; a source with fewer than `FEWEST` tracks scored in both is omitted, with a note. `notes` are full
    sentences on the limits of the comparison, for the reader of any table or figure made from it."""
    first: str
    second: str
    family: Family
    tracks: int
    differences: tp.Dict[str, Difference]
    notes: tp.Tuple[str, ...]


@dataclass(frozen=True)
class SeedSpread:
    """Spread of runs that differ only in their seed: one aggregate per seed, in dB, of one source and family.

    `mean` over seeds is the number that papers with several seeds report.
    """
    source: str
    family: Family
    values: tp.Tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over seeds, in dB."""
        return float(np.mean(self.values))

    @property
    def range(self) -> float:
        """Largest minus smallest value over seeds, in dB."""
        return float(np.ptp(self.values))

    @property
    def deviation(self) -> float:
        """Sample standard deviation over seeds, in dB (with Bessel's correction)."""
        return float(np.std(self.values, ddof=1))


def signed_rank(values: tp.Sequence[float]) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test on paired differences, of which zeros are discarded; 1 if all
    are zero."""
    sample = np.asarray(values, dtype=np.float64)
    return float(stats.wilcoxon(sample).pvalue) if np.any(sample != 0) else 1.


def verdict(difference: Difference) -> str:
    """Verdict on the first of two evaluations: "better" or "worse" if the interval of the difference excludes zero,
    otherwise "not distinguishable"."""
    if not difference.interval.excludes_zero:
        return UNCLEAR
    return BETTER if difference.interval.low > 0 else WORSE


def basis(difference: Difference) -> str:
    """Clause that states on what the verdict is based, such as "the interval over songs excludes zero"."""
    does = "includes" if difference.verdict == UNCLEAR else "excludes"
    return f"the interval over {difference.over} {does} zero"


def compare(first: Evaluation, second: Evaluation, family: Family, *, level: float = LEVEL, method: str = METHODS[0],
            resamples: int = RESAMPLES, seed: int = 0) -> Comparison:
    """Paired comparison, `first` minus `second`, for each source that both have and for the mean over these sources
    ("all"). Tracks are paired by name.

    Args:
        first, second: evaluations, each with scores per track.
        family: a family with one value per track, not a pooled one.
        level, method, resamples, seed: of the intervals, as in `bootstrap_interval`.

    Raises:
        FamilyError: for a pooled family.
        DatasetError: if fewer than `FEWEST` tracks are shared, no source is shared or has that many tracks with a score
            in both, or a track occurs twice.
        ConfigError: as `bootstrap_interval`.
    """
    if family.pooled:
        raise FamilyError(f"{family.key} has no value per track to pair: frames of one song are not independent, so "
                          f"compare in {family.metric.lower()}_{family.across}_of_medians")
    ours, theirs = _by_name(first), _by_name(second)
    shared = sorted({*ours} & {*theirs})   # sorted, so that an interval does not depend on the order of a record
    if len(shared) < FEWEST:
        raise DatasetError(f"{first.name} ({first.dataset}, {len(ours)} tracks) and {second.name} ({second.dataset}, "
                           f"{len(theirs)} tracks) share {len(shared)} tracks by name; a comparison needs {FEWEST}: "
                           f"evaluate both on at least {FEWEST} of the same songs")
    wanted = [name for name in first.sources if name in second.sources]
    if not wanted:
        raise DatasetError(f"{first.name} ({', '.join(first.sources)}) and {second.name} "
                           f"({', '.join(second.sources)}) share no source")
    notes = _notes(first, second, shared, wanted, family.metric)
    options: tp.Dict[str, tp.Any] = dict(level=level, method=method, resamples=resamples, seed=seed)
    differences = {}
    for source in [*wanted, ALL]:
        paired, scores = _paired(ours, theirs, shared, wanted if source == ALL else [source], family.metric)
        if len(paired) < FEWEST:
            notes.append(f"{_label(source)} is left out: only {len(paired)} tracks have a score in both, fewer than "
                         f"{FEWEST}.")
            continue
        if len(paired) < len(shared):
            notes.append(f"{_label(source)}: {len(shared) - len(paired)} of {len(shared)} tracks have no score in one "
                         f"of the two and do not count.")
        found = _difference(source, family, paired, scores, len(shared), options)
        low, high = found.interval.low, found.interval.high
        if not low - TIE <= found.of_aggregates <= high + TIE:
            notes.append(f"{_label(source)}: subtracting the two {family.across}s gives "
                         f"{number(found.of_aggregates, plus=True)} dB, which the paired differences do not bear out "
                         f"({number(found.value, plus=True)} dB, {interval_text(low, high)}).")
        differences[source] = found
    if not differences:
        raise DatasetError(f"{first.name} and {second.name} have no source that {FEWEST} tracks score in both as "
                           f"{family.metric}: evaluate them with that metric")
    return Comparison(first=first.name, second=second.name, family=family, tracks=len(shared), differences=differences,
                      notes=tuple(notes))


def _paired(ours: tp.Dict[str, TrackScores], theirs: tp.Dict[str, TrackScores], shared: tp.Sequence[str],
            sources: tp.Sequence[str], metric: str) -> tp.Tuple[tp.List[str], np.ndarray]:
    """Shared tracks for which all `sources` are defined in both, and their scores [2, sources, tracks]."""
    scores = np.array([[[tracks[name].scores.get(source, {}).get(metric) for name in shared] for source in sources]
                       for tracks in (ours, theirs)], dtype=np.float64)   # None becomes NaN
    defined = np.isfinite(scores).all(axis=(0, 1))
    return [name for name, whole in zip(shared, defined) if whole], scores[..., defined]


def _difference(source: str, family: Family, paired: tp.Sequence[str], scores: np.ndarray, shared: int,
                options: tp.Dict[str, tp.Any]) -> Difference:
    """Difference from scores [2, sources, tracks] of the `paired` tracks."""
    over_tracks = ACROSS[family.across]

    def subtracted(scores: np.ndarray, axis: int) -> tp.Any:
        aggregates = over_tracks(scores, axis=axis).mean(axis=1)   # over sources
        return aggregates[0] - aggregates[1]

    values = tuple((scores[0] - scores[1]).mean(axis=0).tolist())
    won, lost = sum(value > TIE for value in values), sum(value < -TIE for value in values)
    interval = bootstrap_interval(values, family.across, **options)
    return Difference(source=source, family=family, tracks=tuple(paired), values=values,
                      value=family.over_tracks(values), interval=interval,
                      of_aggregates=float(subtracted(scores, axis=-1)),
                      of_aggregates_interval=(interval if family.across == "mean"   # the same number
                                              else interval_of(scores, subtracted, **options)),
                      p_value=signed_rank(values), won=won, lost=lost, tied=len(values) - won - lost,
                      dropped=shared - len(values))


def _by_name(evaluation: Evaluation) -> tp.Dict[str, TrackScores]:
    tracks = {track.name: track for track in evaluation.tracks}
    if len(tracks) < len(evaluation.tracks):
        raise DatasetError(f"{evaluation.name}: a track occurs twice among its {len(evaluation.tracks)}; a track is "
                           f"paired by its name, so evaluate it anew")
    return tracks


def _notes(first: Evaluation, second: Evaluation, shared: tp.Sequence[str], sources: tp.Sequence[str],
           metric: str) -> tp.List[str]:
    """Notes on conditions that differ between the two evaluations, one sentence each."""
    notes = []
    ours, theirs = _by_name(first), _by_name(second)
    if first.dataset != second.dataset:
        notes.append(f"Scored on different data: {first.name} on {first.dataset}, {second.name} on {second.dataset}; "
                     f"tracks are paired by name.")
    if not len(shared) == len(first.tracks) == len(second.tracks):
        notes.append(f"Compared on the {len(shared)} tracks that both have ({first.name} has {len(first.tracks)}, "
                     f"{second.name} has {len(second.tracks)}).")
    if len(shared) < FEW:
        notes.append(f"{len(shared)} tracks are few: the intervals cover a little less than they say, and other songs "
                     f"may well reverse a difference.")
    if set(first.sources) != set(second.sources):
        notes.append(f"They separate different sources ({first.name}: {', '.join(first.sources)}; {second.name}: "
                     f"{', '.join(second.sources)}): compared on {', '.join(sources)}.")
    for name in sorted({*first.settings} & {*second.settings} - {"seed", "metrics"}):
        mine, other = first.settings[name], second.settings[name]
        if mine != other:
            notes.append(f"Scored with different settings: {name}={mine} for {first.name}, {other} for {second.name}.")
    pairs = [(ours[name], theirs[name]) for name in shared]
    changed = sum("" != one.fingerprint != other.fingerprint != "" for one, other in pairs)
    if changed:
        notes.append(f"{changed} of {len(shared)} tracks were read from files with another content: pairs of them are "
                     f"pairs of songs with the same name only.")
    shaky = sum(bool(one.ill_conditioned or other.ill_conditioned) for one, other in pairs)
    if shaky and metric in ("ISR", "SIR", "SAR"):
        notes.append(f"{shaky} of {len(shared)} tracks are ill-conditioned: there {metric} depends on rounding errors.")
    return notes


def _label(source: str) -> str:
    return "The mean over sources" if source == ALL else source


def seed_spread(evaluations: tp.Sequence[Evaluation], family: Family) -> tp.Dict[str, SeedSpread]:
    """Spread of runs that differ only in their seed, for each source, and for the mean over sources ("all"). A source
    that is undefined in one of them is left out.

    Raises DatasetError for fewer than two runs, or runs on different tracks or sources.
    """
    if len(evaluations) < 2:
        raise DatasetError(f"a spread over seeds needs at least two runs, found {len(evaluations)}")
    first = evaluations[0]
    names = sorted(track.name for track in first.tracks)
    for other in evaluations[1:]:
        if sorted(track.name for track in other.tracks) != names or other.sources != first.sources:
            raise DatasetError(f"{first.name} and {other.name} were scored on different tracks or sources: a spread "
                               f"over seeds needs the same ones")
    results = [aggregate(evaluation, family).values for evaluation in evaluations]
    spreads = {}
    for source in [*first.sources, ALL]:
        values = [result[source] for result in results]
        defined = tuple(value for value in values if value is not None)
        if len(defined) == len(values):
            spreads[source] = SeedSpread(source=source, family=family, values=defined)
    return spreads


def describe(difference: Difference) -> str:
    """Line of text about a difference: value, interval, family, numbers of tracks, test, verdict and its basis."""
    interval, family = difference.interval, difference.family
    seeds = "" if difference.seeds == (1, 1) else \
        f", {' and '.join(seeds_text(count) for count in difference.seeds)}"
    test = "" if difference.p_value is None else f", signed-rank p {p_text(difference.p_value, '= ')}"
    return (f"{_label(difference.source)}: {number(difference.value, plus=True)} dB ({interval.level:.0%} interval "
            f"{interval_text(interval.low, interval.high)}, {family.name}, {family.across} over "
            f"{len(difference.values)} paired tracks{seeds}), better on {difference.won}, worse on {difference.lost}, tied "
            f"on {difference.tied}{test}: {difference.verdict} ({basis(difference)})")


def seeds_text(count: int) -> str:
    """Number of seeds as text, such as "1 seed" or "3 seeds"."""
    return f"{count} seed{'s' * (count != 1)}"


def describe_spread(spread: SeedSpread) -> str:
    """Line of text about a spread: mean, standard deviation and range over seeds, in dB."""
    low, high = (number(edge(spread.values)) for edge in (min, max))
    return (f"{_label(spread.source)}: {number(spread.mean)} dB in the mean over {seeds_text(len(spread.values))}, standard "
            f"deviation {number(spread.deviation)} dB, range {number(spread.range)} dB ({low} to {high})")


def beside_seeds(difference: Difference, spread: SeedSpread) -> str:
    """Sentence that compares the difference of two aggregates (`of_aggregates`) with the range of a spread over seeds.

    Raises FamilyError if their families or sources differ.
    """
    if spread.family.key != difference.family.key or spread.source != difference.source:
        raise FamilyError(f"a difference in {difference.family.key} of {difference.source} cannot be compared with a "
                          f"spread in {spread.family.key} of {spread.source}")
    size, seeds = abs(difference.of_aggregates), len(spread.values)
    inside = size <= spread.range
    relation = ("no larger than that: another seed alone can make such a difference" if inside
                else f"{size / spread.range:.1f} times that" if spread.range > 0 else "larger")
    return (f"{_label(spread.source)}: {seeds} seeds of one configuration have a range of {number(spread.range)} dB "
            f"(standard deviation {number(spread.deviation)} dB); the difference of {number(size)} dB between the "
            f"aggregates is {relation}.")
