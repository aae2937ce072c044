"""From scores per track to one number per source, with the way of doing so in its name.

The same per-track scores give numbers up to 1 dB apart depending on what is averaged how, and papers, Demucs's logs and
the MDX challenge each do it differently. So no function here returns a bare "SDR": every aggregate belongs to a
`Family`, and two numbers may be compared only within one family. In all of them the overall number is the mean over
sources.

    sdr_median_of_medians   median over 1 s frames, then median over tracks   papers, museval's own aggregation
    sdr_mean_of_medians     median over 1 s frames, then mean over tracks     what Demucs logs as `sdr`
    nsdr_mean               whole-track nSDR, mean over tracks                MDX challenge, what Demucs logs as `nsdr`
    nsdr_median             whole-track nSDR, median over tracks              what Demucs logs as `nsdr_med`

A track where a score is undefined (None: a source silent all through) is left out of that source's aggregate, and the
number of tracks that count is part of the result.

Numpy only: the graphing scripts read this without torch.
"""

import typing as tp
from dataclasses import dataclass

import numpy as np

from ..schema import Evaluation, TrackScores

ALL = "all"   # name of the mean over sources among the names of sources


@dataclass(frozen=True)
class Family:
    """A way to get from per-track scores to one number per source.

    `metric` is the name in `TrackScores.scores`, `across` what is taken over tracks ("mean" or "median"), `history`
    the prefix of its values in an epoch's `test` (published Demucs's names), `short` for a table head, `label` for an
    axis.
    """
    key: str
    metric: str
    across: str
    history: str
    short: str
    label: str

    def over_tracks(self, values: tp.Sequence[float]) -> float:
        """Mean or median, in dB, of at least one value."""
        return float(np.mean(values) if self.across == "mean" else np.median(values))


SDR_MEDIAN_OF_MEDIANS = Family(
    key="sdr_median_of_medians", metric="SDR", across="median", history="sdr_med", short="SDR, median of medians",
    label="SDR (dB): median over 1 s frames, median over tracks")
SDR_MEAN_OF_MEDIANS = Family(
    key="sdr_mean_of_medians", metric="SDR", across="mean", history="sdr", short="SDR, mean of medians",
    label="SDR (dB): median over 1 s frames, mean over tracks")
NSDR_MEAN = Family(
    key="nsdr_mean", metric="nsdr", across="mean", history="nsdr", short="nSDR, mean",
    label="nSDR (dB): whole track, mean over tracks")
NSDR_MEDIAN = Family(
    key="nsdr_median", metric="nsdr", across="median", history="nsdr_med", short="nSDR, median",
    label="nSDR (dB): whole track, median over tracks")

FAMILIES: tp.Dict[str, Family] = {
    family.key: family for family in (NSDR_MEAN, SDR_MEDIAN_OF_MEDIANS, SDR_MEAN_OF_MEDIANS, NSDR_MEDIAN)}


@dataclass(frozen=True)
class Aggregate:
    """One family's numbers for one evaluation.

    `values[source]` is in dB, `values["all"]` the mean over sources; None where no track is defined (for "all": where
    a source has no value, since a mean over fewer sources compares with nothing). `counts[source]` tracks went into
    it, of `tracks`; `counts["all"]` is the smallest of them.
    """
    family: Family
    values: tp.Dict[str, tp.Optional[float]]
    counts: tp.Dict[str, int]
    tracks: int

    @property
    def defined(self) -> bool:
        """Whether any source has a value."""
        return any(count > 0 for count in self.counts.values())


def track_values(tracks: tp.Iterable[TrackScores], source: str, metric: str) -> tp.List[float]:
    """The defined scores of `source`, in dB, in the order of the tracks."""
    values = (track.scores.get(source, {}).get(metric) for track in tracks)
    return [float(value) for value in values if value is not None and np.isfinite(value)]


def aggregate_tracks(tracks: tp.Sequence[TrackScores], sources: tp.Sequence[str], family: Family) -> Aggregate:
    """Aggregate `tracks` in `family` for each of `sources` and over all of them."""
    values: tp.Dict[str, tp.Optional[float]] = {}
    counts: tp.Dict[str, int] = {}
    for source in sources:
        scores = track_values(tracks, source, family.metric)
        values[source] = family.over_tracks(scores) if scores else None
        counts[source] = len(scores)
    defined = [value for value in values.values() if value is not None]
    values[ALL] = float(np.mean(defined)) if defined and len(defined) == len(sources) else None
    counts[ALL] = min(counts.values(), default=0)
    return Aggregate(family=family, values=values, counts=counts, tracks=len(tracks))


def aggregate(evaluation: Evaluation, family: Family) -> Aggregate:
    """Aggregate an evaluation in `family`. See `Aggregate` for what comes back where scores are undefined."""
    return aggregate_tracks(evaluation.tracks, evaluation.sources, family)


def history_aggregates(tracks: tp.Sequence[TrackScores], sources: tp.Sequence[str]) -> tp.Dict[str, float]:
    """The flattened numbers that an epoch's `test` holds, under published Demucs's names.

    For each metric m that the tracks have (lower case: nsdr, sdr, isr, sir, sar): `m_SOURCE` the mean over tracks,
    `m_med_SOURCE` the median over tracks, `m` and `m_med` their means over sources. BSSEval scores are medians over
    frames already. A number that is undefined has no entry, where published Demucs would write NaN.
    """
    result: tp.Dict[str, float] = {}
    metrics = list(dict.fromkeys(metric for track in tracks for scores in track.scores.values() for metric in scores))
    for metric in metrics:
        for across, suffix in (("mean", ""), ("median", "_med")):
            prefix = metric.lower() + suffix
            family = Family(key=prefix, metric=metric, across=across, history=prefix, short=prefix, label=prefix)
            numbers = aggregate_tracks(tracks, sources, family).values
            overall = numbers.pop(ALL)
            result.update({f"{prefix}_{source}": value for source, value in numbers.items() if value is not None})
            if overall is not None:
                result[prefix] = overall
    return result
