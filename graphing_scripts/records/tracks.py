"""What the scores of single tracks are, and which are doubtful."""

import typing as tp

from demucs.metrics.aggregates import FRAMEWISE, WHOLE_TRACK, track_family
from demucs.schema import Evaluation


def per_track(metric: str) -> str:
    """What the number of one track is, for an axis: the label of the metric's families, up to the tracks."""
    return track_family(metric, "mean").label.rsplit(", ", 1)[0] + (" of the track" if metric in FRAMEWISE else "")


def metrics_of(evaluation: tp.Optional[Evaluation]) -> tp.List[str]:
    """The metrics that tracks have, those of whole tracks first."""
    tracks = evaluation.tracks if evaluation is not None else []
    known = {metric for track in tracks for scores in track.scores.values() for metric in scores}
    return [metric for metric in (*WHOLE_TRACK, *FRAMEWISE) if metric in known]


def doubtful(evaluation: Evaluation, metric: str) -> tp.Set[str]:
    """Names of tracks whose score depends on rounding errors."""
    return {track.name for track in evaluation.tracks if track.ill_conditioned and metric in ("ISR", "SIR", "SAR")}
