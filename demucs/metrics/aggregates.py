"""Aggregation of scores per track to one number per source, by named methods ("families").

The same scores give numbers up to 1 dB apart (with pooled frames: up to 3 dB) depending on the method of aggregation,
and papers, Demucs's logs, the MDX challenge and notes of users use different methods. So no function here returns just
an "SDR": every aggregate belongs to a `Family`, and `one_family` refuses numbers of two families in one table or on one
axis. In all families the overall number is the mean over sources.

    sdr_median_of_medians   median over 1 s frames, then median over tracks   papers, museval's own aggregation
    sdr_mean_of_medians     median over 1 s frames, then mean over tracks     what Demucs logs as `sdr`
    nsdr_mean               whole-track nSDR, mean over tracks                MDX challenge, what Demucs logs as `nsdr`
    nsdr_median             whole-track nSDR, median over tracks              what Demucs logs as `nsdr_med`
    sdr_pooled_mean         mean over all 1 s frames of all tracks            notes on variants of HTDemucs
    sdr_pooled_median       median over all 1 s frames of all tracks          the same

The first four need only the scores of tracks and are in `FAMILIES`. The pooled ones need `TrackScores.frames`, and give
long songs more weight. `EVERY_FAMILY` also contains them, and the families of SI-SDR, ISR, SIR and SAR.

A track with an undefined score (None: a source that is silent in the whole track) is excluded from the aggregate of
that source, and the number of included tracks is part of the result. Undefined frames are excluded in the same way.

Only numpy is needed: the graphing scripts use this module without torch.
"""

import typing as tp
from dataclasses import dataclass

import numpy as np

from ..errors import DemucsError
from ..schema import Evaluation, TrackScores, unpack_frames

ALL = "all"   # key of the mean over sources among the names of sources

WHOLE_TRACK = ("nsdr", "si_sdr")
FRAMEWISE = ("SDR", "ISR", "SIR", "SAR")
_NAMES = {"nsdr": "nSDR", "si_sdr": "SI-SDR"}


class FamilyError(DemucsError):
    """Error for numbers of different families in one table or difference, and for a pooled family where values per
    track are needed."""


@dataclass(frozen=True)
class Family:
    """Method of aggregation of scores per track to one number per source.

    `key` is its name in tables such as `EVERY_FAMILY`. `metric` is the name in `TrackScores.scores`. `frames` is the
    aggregation over frames of one second: "whole" (no frames: one ratio per track), "median" (one value per track) or
    "pooled" (no value per track: all frames of all tracks are one population). `across` is the aggregation over tracks,
    or over the pooled frames ("mean" or "median"). `history` is the prefix of its values in an epoch's `test` (names of
    published Demucs; "" for pooled families, which are not logged), `short` a title for table columns, `label` a label
    for axes.
    """
    key: str
    metric: str
    across: str
    history: str
    short: str
    label: str
    frames: str = "median"

    @property
    def name(self) -> str:
        """Name of the metric for display, such as "nSDR" for `nsdr`."""
        return _NAMES.get(self.metric, self.metric)

    @property
    def pooled(self) -> bool:
        """Whether the frames of all tracks are one population, so that there is no value per track."""
        return self.frames == "pooled"

    def over_tracks(self, values: tp.Sequence[float]) -> float:
        """Mean or median (`across`) of `values`, in dB: one or more numbers per track, or per frame for a pooled
        family."""
        return float(np.mean(values) if self.across == "mean" else np.median(values))


def track_family(metric: str, across: str) -> Family:
    """Family of `metric` with one value per track, the "mean" or "median" (`across`) of which is taken over tracks. The
    value of a track is the ratio over the whole track for `WHOLE_TRACK` metrics, and the median over its frames for
    others."""
    name, history = _NAMES.get(metric, metric), metric.lower() + ("" if across == "mean" else "_med")
    if metric in WHOLE_TRACK:
        return Family(key=f"{metric}_{across}", metric=metric, across=across, history=history, frames="whole",
                      short=f"{name}, {across}", label=f"{name} (dB): whole track, {across} over tracks")
    return Family(key=f"{metric.lower()}_{across}_of_medians", metric=metric, across=across, history=history,
                  short=f"{name}, {across} of medians",
                  label=f"{name} (dB): median over 1 s frames, {across} over tracks")


def pooled_family(metric: str, across: str) -> Family:
    """Family of `metric`, one of `FRAMEWISE`, with the "mean" or "median" (`across`) over all frames of all tracks."""
    return Family(key=f"{metric.lower()}_pooled_{across}", metric=metric, across=across, history="", frames="pooled",
                  short=f"{metric}, pooled {across}",
                  label=f"{metric} (dB): {across} over all 1 s frames of all tracks")


SDR_MEDIAN_OF_MEDIANS = track_family("SDR", "median")
SDR_MEAN_OF_MEDIANS = track_family("SDR", "mean")
NSDR_MEAN = track_family("nsdr", "mean")
NSDR_MEDIAN = track_family("nsdr", "median")
SDR_POOLED_MEAN = pooled_family("SDR", "mean")
SDR_POOLED_MEDIAN = pooled_family("SDR", "median")

FAMILIES: tp.Dict[str, Family] = {
    family.key: family for family in (NSDR_MEAN, SDR_MEDIAN_OF_MEDIANS, SDR_MEAN_OF_MEDIANS, NSDR_MEDIAN)}

EVERY_FAMILY: tp.Dict[str, Family] = {family.key: family for family in (
    *FAMILIES.values(), SDR_POOLED_MEDIAN, SDR_POOLED_MEAN,
    *(track_family("si_sdr", across) for across in ("mean", "median")),
    *(make(metric, across) for metric in FRAMEWISE[1:] for make in (track_family, pooled_family)
      for across in ("median", "mean")))}


class HasFamily(tp.Protocol):
    """Interface of objects with a family: `Aggregate`, a row of a table, a difference."""
    @property
    def family(self) -> Family: ...


def one_family(items: tp.Iterable[HasFamily], where: str = "one table") -> Family:
    """The family that all `items` share. Raises FamilyError, with `where` as subject of its message, if there are
    several families, or no item."""
    families = {item.family.key: item.family for item in items}
    if len(families) != 1:
        found = " and ".join(f"{family.key} ({family.label})" for family in families.values()) or "nothing"
        raise FamilyError(f"{where} must hold numbers of one family, found {found}: aggregate all of them the same "
                          f"way, or make one for each family")
    return next(iter(families.values()))


@dataclass(frozen=True)
class Aggregate:
    """Aggregated scores of one evaluation in one family.

    `values[source]` is in dB, `values["all"]` the mean over sources. A value is None if no track is defined ("all": if
    any source has no value, since a mean over fewer sources is not comparable). `counts[source]` is the number of
    included tracks, of `tracks`; `counts["all"]` is the smallest of them. For numbers from a log both are unknown:
    `counts` is empty and `tracks` None.
    """
    family: Family
    values: tp.Dict[str, tp.Optional[float]]
    counts: tp.Dict[str, int]
    tracks: tp.Optional[int]

    @property
    def defined(self) -> bool:
        """Whether at least one source has a value."""
        return any(value is not None for value in self.values.values())

    def minus(self, other: "Aggregate") -> tp.Dict[str, tp.Optional[float]]:
        """Values minus those of `other` in dB, for the sources (and "all") that both have; None if either value is
        None. Raises FamilyError if the families differ."""
        one_family((self, other), where="a difference")
        pairs = {source: (value, other.values[source]) for source, value in self.values.items()
                 if source in other.values}
        return {source: None if mine is None or theirs is None else mine - theirs
                for source, (mine, theirs) in pairs.items()}


def track_values(tracks: tp.Iterable[TrackScores], source: str, metric: str) -> tp.List[float]:
    """Scores of `source` in `metric`, in dB, in the order of the tracks. Tracks whose score is missing, None or
    infinite are left out."""
    values = (track.scores.get(source, {}).get(metric) for track in tracks)
    return [float(value) for value in values if value is not None and np.isfinite(value)]


@dataclass(frozen=True)
class Pool:
    """All frames of all tracks of one source and metric, as quoted in the notes on variants of HTDemucs.

    `values` [frames] are the defined frames in dB, track after track. A frame may be infinite (an estimate without any
    error), and then the mean is, too. `undefined` is the number of frames that are silent in reference or estimate,
    `tracks` the number of tracks with a defined frame.
    """
    values: np.ndarray
    undefined: int
    tracks: int

    @property
    def mean(self) -> float:
        """Mean of the frames in dB; NaN without frames."""
        return float(np.mean(self.values))

    @property
    def median(self) -> float:
        """Median of the frames in dB; NaN without frames."""
        return float(np.median(self.values))

    @property
    def std(self) -> float:
        """Population standard deviation (divisor n) in dB over the frames of all tracks; NaN without frames."""
        return float(np.std(self.values))


def pool(tracks: tp.Iterable[TrackScores], source: str, metric: str) -> Pool:
    """All frames of `source` in `metric`, over all `tracks`. Tracks without frames of it in their record contribute
    none."""
    frames = [np.array(unpack_frames(track.frames.get(source, {}).get(metric, "")), dtype=np.float64)
              for track in tracks]
    defined = [values[~np.isnan(values)] for values in frames]
    return Pool(values=np.concatenate([np.zeros(0), *defined]), tracks=sum(values.size > 0 for values in defined),
                undefined=int(sum(values.size for values in frames) - sum(values.size for values in defined)))


def aggregate_tracks(tracks: tp.Sequence[TrackScores], sources: tp.Sequence[str], family: Family) -> Aggregate:
    """Aggregate of `tracks` in `family` for each of `sources`, which may be sums of sources, and the mean over them.
    `Aggregate` describes the result for undefined scores."""
    values: tp.Dict[str, tp.Optional[float]] = {}
    counts: tp.Dict[str, int] = {}
    for source in sources:
        if family.pooled:
            pooled = pool(tracks, source, family.metric)
            scores: tp.Sequence[float] = pooled.values
            counts[source] = pooled.tracks
        else:
            scores = track_values(tracks, source, family.metric)
            counts[source] = len(scores)
        number = family.over_tracks(scores) if len(scores) else np.nan
        values[source] = number if np.isfinite(number) else None
    return Aggregate(family=family, values=_with_overall(values), tracks=len(tracks),
                     counts={**counts, ALL: min(counts.values(), default=0)})


def _with_overall(values: tp.Dict[str, tp.Optional[float]]) -> tp.Dict[str, tp.Optional[float]]:
    defined = [value for value in values.values() if value is not None]
    return {**values, ALL: float(np.mean(defined)) if defined and len(defined) == len(values) else None}


def aggregate(evaluation: Evaluation, family: Family) -> Aggregate:
    """Aggregate of the tracks and sources of an evaluation in `family`; `Aggregate` describes the result for undefined
    scores."""
    return aggregate_tracks(evaluation.tracks, evaluation.sources, family)


def logged_aggregate(numbers: tp.Mapping[str, float], family: Family,
                     sources: tp.Optional[tp.Sequence[str]] = None) -> Aggregate:
    """Aggregate of `family` from `numbers`, those of a log or of an epoch's `test`, under the names of published
    Demucs, such as "nsdr_drums" or "sdr_med_drums".

    `sources` are by default those in the names. Sources without a number are None. The overall value is computed from
    those of the sources. Raises FamilyError for a pooled family, which logs do not contain.
    """
    if family.pooled:
        raise FamilyError(f"{family.key} cannot be read from a log: published Demucs logs means and medians over "
                          f"tracks only, so it needs an evaluation with its frames")
    prefix = f"{family.history}_"
    if sources is None:
        found = [name[len(prefix):] for name in numbers if name.startswith(prefix)]
        sources = [source for source in found if source.split("_")[0] != "med"]   # "sdr_med", "sdr_med_bass": medians
    values = {source: _number(numbers.get(prefix + source)) for source in sources}
    return Aggregate(family=family, values=_with_overall(values), counts={}, tracks=None)


def _number(value: tp.Optional[float]) -> tp.Optional[float]:
    return float(value) if value is not None and np.isfinite(value) else None


def history_aggregates(tracks: tp.Sequence[TrackScores], sources: tp.Sequence[str]) -> tp.Dict[str, float]:
    """Aggregates of `tracks` for an epoch's `test`, in dB, under the names of published Demucs.

    For each metric m of the tracks, in lower case, such as nsdr or sdr: `m_SOURCE` is the mean over tracks,
    `m_med_SOURCE` the median over tracks, `m` and `m_med` their means over sources. BSSEval scores are already medians
    over frames. An undefined number has no entry, where published Demucs would write NaN.
    """
    result: tp.Dict[str, float] = {}
    metrics = list(dict.fromkeys(metric for track in tracks for scores in track.scores.values() for metric in scores))
    for metric in metrics:
        for family in (track_family(metric, "mean"), track_family(metric, "median")):
            numbers = aggregate_tracks(tracks, sources, family).values
            overall = numbers.pop(ALL)
            result.update({f"{family.history}_{source}": value for source, value in numbers.items()
                           if value is not None})
            if overall is not None:
                result[family.history] = overall
    return result
