"""Scores of one separated track, for its sources and for sums of sources.

Each sum of estimates is scored against the sum of their references, as a single source: the song without one source
("no_drums"), and without the vocals ("instrumental"). Such sums result from a separation into two stems, and are the
output of accompaniment separators: SDR, ISR and SAR of a single reference per frame, and nSDR of the whole track.
"""

import dataclasses
import math
import typing as tp

import numpy as np
import torch

from ..metrics.bsseval import bss_eval, frame_medians
from ..metrics.bsseval import METRICS as MEASURES
from ..metrics.energies import energies
from ..schema import pack_frames

METRICS = ("nsdr", "si_sdr", "sdr", "bsseval")
WITHOUT_INTERFERENCE = tuple(measure for measure in MEASURES if measure != "SIR")     # SIR needs several references
INSTRUMENTAL = "instrumental"
VOCALS = "vocals"


@dataclasses.dataclass
class Scores:
    """Scores of a track; the fields are those of the same names in `TrackScores`."""
    scores: tp.Dict[str, tp.Dict[str, tp.Optional[float]]]
    frames: tp.Dict[str, tp.Dict[str, str]]
    condition: tp.Optional[float] = None
    ill_conditioned: tp.Optional[bool] = None


def score(references: torch.Tensor, estimates: torch.Tensor, sources: tp.Sequence[str], samplerate: int, *,
          metrics: tp.Sequence[str], sums: bool = False) -> Scores:
    """Scores of one track from its references and estimates [S, A, L], computed in float64 on their device. `metrics`
    are those of `METRICS`; with `sums`, sums of sources are scored as well.

    Values of measures in frames ("sdr", "bsseval") are medians over the defined frames. Undefined or infinite values
    are None. Of sums, "bsseval" has the SDR, and for the instrumental also ISR and SAR.
    """
    parts = {source: [index] for index, source in enumerate(sources)}
    if sums:
        parts.update(sums_of(sources))
    result = Scores(scores={name: {} for name in parts}, frames={})
    measures = MEASURES if "bsseval" in metrics else MEASURES[:1] if "sdr" in metrics else ()
    found = energies(references, estimates, list(parts.values()), samplerate=samplerate)
    for metric, values in (("nsdr", found.nsdr), ("si_sdr", found.si_sdr)):
        if metric in metrics:
            for name, value in zip(parts, values().tolist()):
                result.scores[name][metric] = value if math.isfinite(value) else None
    if measures:
        measured = bss_eval(references, estimates, samplerate, measures=measures, found=found[:len(sources)])
        _add(result, sources, measured.frames)
        if "bsseval" in metrics:
            result.condition, result.ill_conditioned = measured.condition, measured.ill_conditioned
    for index, name in enumerate(parts):
        if name == INSTRUMENTAL and name not in sources and "bsseval" in metrics:
            summed = [sum(wavs[part] for part in parts[name])[None] for wavs in (references, estimates)]
            _add(result, [name], bss_eval(*summed, samplerate, measures=WITHOUT_INTERFERENCE,
                                          found=found[index:index + 1]).frames)
        elif name not in sources and measures:
            _add(result, [name], {"SDR": found.sdr()[index:index + 1].cpu().numpy()})
    return result


def sums_of(sources: tp.Sequence[str]) -> tp.Dict[str, tp.List[int]]:
    """Sums of sources that are scored, {name: indices of the added `sources`}: "no_SOURCE", the song without one
    source, and "instrumental", the song without the vocals. A sum whose name is among `sources` is left out. With two
    sources there are no sums, since each source is the song without the other."""
    if len(sources) < 3:
        return {}
    sums = {INSTRUMENTAL if left_out == VOCALS else f"no_{left_out}":
            [index for index, source in enumerate(sources) if source != left_out] for left_out in sources}
    return {name: parts for name, parts in sums.items() if name not in sources}


def _add(result: Scores, names: tp.Sequence[str], frames: tp.Mapping[str, np.ndarray]) -> None:
    """Add frames [names, T] of each measure, and their medians."""
    for index, (name, medians) in enumerate(zip(names, frame_medians(frames))):
        result.scores[name].update(medians)
        result.frames[name] = {metric: pack_frames(values[index]) for metric, values in frames.items()}
