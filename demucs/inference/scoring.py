"""Scores of one separated track: which measures there are, of the sources and of sums of them.

Sums of estimates are scored against the sum of their references, as one source each: what is left without one source
("no_drums"), and without the vocals ("instrumental"). That is what a separation into two stems gives, and what
separators of the accompaniment are scored by: SDR, ISR and SAR of a single reference per frame, and nSDR of the whole
track.
"""

import dataclasses
import typing as tp

import numpy as np
import torch

from ..metrics.bsseval import BssEval, bss_eval, frame_medians
from ..metrics.whole_track import whole_track
from ..schema import pack_frames

WHOLE = ("nsdr", "si_sdr")
METRICS = (*WHOLE, "sdr", "bsseval")
INSTRUMENTAL = "instrumental"
VOCALS = "vocals"


@dataclasses.dataclass
class Scores:
    """What `TrackScores` holds under the same names."""
    scores: tp.Dict[str, tp.Dict[str, tp.Optional[float]]]
    frames: tp.Dict[str, tp.Dict[str, str]]
    condition: tp.Optional[float] = None
    ill_conditioned: tp.Optional[bool] = None


def score(references: torch.Tensor, estimates: torch.Tensor, sources: tp.Sequence[str], samplerate: int, *,
          metrics: tp.Sequence[str], sums: bool = False) -> Scores:
    """Scores of one track, computed in float64 on the device of the signals [S, A, L].

    Values over frames are medians over the frames that are defined. What is undefined or infinite is None.
    """
    result = Scores(scores={}, frames={})
    bsseval = "bsseval" in metrics
    measures = ("SDR", "ISR", "SIR", "SAR") if bsseval else ("SDR",) if "sdr" in metrics else ()
    measured = _add(result, references, estimates, sources, samplerate, metrics, measures)
    if measured is not None and bsseval:
        result.condition, result.ill_conditioned = measured.condition, measured.ill_conditioned
    for name, parts in sums_of(sources).items() if sums else ():
        # One reference knows no interference, so there is no SIR; and the filters are for the one that is published.
        some = tuple(each for each in measures if each != "SIR") if name == INSTRUMENTAL else measures[:1]
        summed = [sum(wavs[part] for part in parts)[None] for wavs in (references, estimates)]
        _add(result, *summed, [name], samplerate, metrics, some)
    return result


def sums_of(sources: tp.Sequence[str]) -> tp.Dict[str, tp.List[int]]:
    """Which of `sources`, by index, make up each sum that is scored. With two sources there is none: each is what is
    left without the other."""
    if len(sources) < 3:
        return {}
    sums = {INSTRUMENTAL if left_out == VOCALS else f"no_{left_out}":
            [index for index, source in enumerate(sources) if source != left_out] for left_out in sources}
    return {name: parts for name, parts in sums.items() if name not in sources}


def _add(result: Scores, references: torch.Tensor, estimates: torch.Tensor, names: tp.Sequence[str], samplerate: int,
         metrics: tp.Sequence[str], measures: tp.Sequence[str]) -> tp.Optional[BssEval]:
    """Add scores of the sources `names` to `result`; returns what BSSEval said, if it was asked."""
    rows: tp.List[tp.Dict[str, tp.Optional[float]]] = [{} for _ in names]
    if any(metric in WHOLE for metric in metrics):
        whole = whole_track(references, estimates)
        for metric in (metric for metric in WHOLE if metric in metrics):
            for row, value in zip(rows, whole[metric].tolist()):
                row[metric] = value if np.isfinite(value) else None
    measured = bss_eval(references, estimates, samplerate, measures=measures) if measures else None
    if measured is not None:
        for row, medians in zip(rows, frame_medians(measured.frames)):
            row.update(medians)
        result.frames.update({name: {metric: pack_frames(values[index]) for metric, values in measured.frames.items()}
                              for index, name in enumerate(names)})
    result.scores.update(zip(names, rows))
    return measured
