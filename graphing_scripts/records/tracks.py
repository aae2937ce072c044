"""Scores of single tracks: labels, metrics, and tracks with ill-conditioned scores."""

import typing as tp

from demucs.metrics.aggregates import FRAMEWISE, WHOLE_TRACK, track_family
from demucs.schema import Evaluation


def per_track(metric: str) -> str:
    """Axis label for the score of one track: the label of the metric's family, without the aggregation over tracks."""
    return track_family(metric, "mean").label.rsplit(", ", 1)[0] + (" of the track" if metric in FRAMEWISE else "")


def metrics_of(evaluation: tp.Optional[Evaluation]) -> tp.List[str]:
    """Metrics for which an evaluation has scores: whole-track metrics first, then framewise ones; [] for None."""
    tracks = evaluation.tracks if evaluation is not None else []
    known = {metric for track in tracks for scores in track.scores.values() for metric in scores}
    return [metric for metric in (*WHOLE_TRACK, *FRAMEWISE) if metric in known]


def doubtful(evaluation: Evaluation, metric: str) -> tp.Set[str]:
    """Names of tracks whose score in `metric` depends on rounding errors (`TrackScores.ill_conditioned`); empty for
    other metrics than ISR, SIR and SAR."""
    return {track.name for track in evaluation.tracks if track.ill_conditioned and metric in ("ISR", "SIR", "SAR")}
