"""Comparison of results on the instrumental, the mixture without the vocals, as in the notes on variants of HTDemucs.

The notes quote the mean, median and standard deviation over all frames of one second of all tracks. In frames without
vocals the instrumental is the mixture, and a separator that returns its input there has scores of 30 dB and more: the
mean over frames depends on them as much as on the frames where something is to be separated. So the frames are also
split by the score of another result, and beside them are the medians of tracks and the nSDR of whole tracks, which are
paired by song.

Frames that are undefined (silent in reference or estimate) or infinite (an estimate without any error) are dropped.
"""

import typing as tp
from dataclasses import dataclass

import numpy as np

from ..errors import DatasetError
from ..schema import Evaluation, InstrumentalDifference, InstrumentalScores, TrackScores, unpack_frames
from .aggregates import NSDR_MEAN, SDR_MEAN_OF_MEDIANS, Family
from .bootstrap import LEVEL, RESAMPLES
from .instrumental_json import INSTRUMENTAL
from .statistics import FEWEST, Comparison, compare

EASY = 25.              # dB: frames in which a result is better than this are easy for it
FAMILIES = (NSDR_MEAN, SDR_MEAN_OF_MEDIANS)      # of paired comparisons


def frames_of(track: TrackScores) -> np.ndarray:
    """SDR in frames of the instrumental of a track, NaN where undefined."""
    return np.array(unpack_frames(track.frames[INSTRUMENTAL]["SDR"]), dtype=np.float64)


def scores(evaluation: Evaluation, file: str = "") -> InstrumentalScores:
    """Aggregates of an evaluation of the instrumental, as `instrumental_json.of_evaluation` gives it.

    Raises:
        DatasetError: if it has no finite frame.
    """
    frames = [frames_of(track) for track in evaluation.tracks]
    finite = [values[np.isfinite(values)] for values in frames]
    pooled = np.concatenate([np.zeros(0), *finite])
    if not pooled.size:
        raise DatasetError(f"{evaluation.name}: has no frame with a finite SDR")
    medians = [float(np.median(values)) for values in finite if values.size]
    whole = [track.scores[INSTRUMENTAL].get("nsdr") for track in evaluation.tracks]
    nsdr = [value for value in whole if value is not None]
    every = np.concatenate(frames)
    return InstrumentalScores(
        name=evaluation.name, model=evaluation.model, dataset=evaluation.dataset, file=file,
        tracks=len(evaluation.tracks), frames=int(pooled.size), undefined=int(np.isnan(every).sum()),
        infinite=int(np.isinf(every).sum()), mean=float(pooled.mean()), median=float(np.median(pooled)),
        std=float(pooled.std()), easy=float(np.mean(pooled >= EASY)), mean_of_medians=float(np.mean(medians)),
        median_of_medians=float(np.median(medians)), nsdr_tracks=len(nsdr),
        nsdr_mean=float(np.mean(nsdr)) if nsdr else None, nsdr_median=float(np.median(nsdr)) if nsdr else None)


@dataclass(frozen=True)
class Split:
    """Frames that two results share, split by the score of the second one: easy ones, where it has `EASY` dB or more,
    and others. `share` is the fraction of easy frames, other fields are means in dB of the first and second result.
    Means over no frame are 0."""
    frames: int
    share: float
    easy: tp.Tuple[float, float]
    others: tp.Tuple[float, float]

    @property
    def from_easy(self) -> float:
        """Part of the difference of the means that the easy frames make, in dB; with `from_others` it adds up to it."""
        return self.share * (self.easy[0] - self.easy[1])

    @property
    def from_others(self) -> float:
        """Part of the difference of the means that the other frames make, in dB."""
        return (1 - self.share) * (self.others[0] - self.others[1])


def split(first: Evaluation, second: Evaluation) -> tp.Optional[Split]:
    """Frames of `first` and `second`, paired by track and position, where both are finite. Tracks with different numbers
    of frames are left out. None if no frame is left."""
    theirs = {track.name: track for track in second.tracks}
    pairs = [(frames_of(track), frames_of(theirs[track.name])) for track in first.tracks if track.name in theirs]
    alike = [np.stack(pair) for pair in pairs if len(pair[0]) == len(pair[1])]
    paired = np.concatenate([np.zeros((2, 0)), *alike], axis=1)
    paired = paired[:, np.isfinite(paired).all(axis=0)]
    if not paired.shape[1]:
        return None
    easy = paired[1] >= EASY

    def means(where: np.ndarray) -> tp.Tuple[float, float]:
        one, other = paired[:, where].mean(axis=1).tolist() if where.any() else (0., 0.)
        return one, other
    return Split(frames=paired.shape[1], share=float(easy.mean()), easy=means(easy), others=means(~easy))


def differences(first: Evaluation, second: Evaluation, *, seed: int = 0) -> tp.List[InstrumentalDifference]:
    """Paired differences of two evaluations of the instrumental, first minus second, in each of `FAMILIES` in which both
    have scores of at least five songs in common. `seed` is that of the bootstrap.

    Raises:
        DatasetError: if they share fewer songs.
    """
    return [_difference(compare(first, second, family, resamples=RESAMPLES, level=LEVEL, seed=seed), family)
            for family in FAMILIES if _paired(first, second, family) >= FEWEST or family is FAMILIES[-1]]


def _paired(first: Evaluation, second: Evaluation, family: Family) -> int:
    """Number of songs that have a score in both."""
    names = [{track.name for track in each.tracks if track.scores[INSTRUMENTAL].get(family.metric) is not None}
             for each in (first, second)]
    return len(names[0] & names[1])


def _difference(found: Comparison, family: Family) -> InstrumentalDifference:
    single = found.differences[INSTRUMENTAL]
    values = np.array(single.values)
    return InstrumentalDifference(
        first=found.first, second=found.second, family=family.key, tracks=len(values), value=single.value,
        error=float(values.std(ddof=1) / len(values) ** 0.5), low=single.interval.low, high=single.interval.high,
        p_value=single.p_value, won=single.won, lost=single.lost, tied=single.tied, verdict=single.verdict,
        notes=list(found.notes))
