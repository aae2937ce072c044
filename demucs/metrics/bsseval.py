"""BSSEval version 4: SDR, ISR, SIR and SAR in frames of one second, with museval's numbers in a small part of its time.

F.-R. Stöter, A. Liutkus, N. Ito, "The 2018 Signal Separation Evaluation Campaign", LVA/ICA 2018 (arXiv:1804.06267);
the decomposition is that of E. Vincent, R. Gribonval, C. Févotte, IEEE TASLP 14(4), 2006. The settings are those of
the published Demucs results: windows of one second without overlap, one set of 512-tap distortion filters for the
whole track, no permutation of sources. The last second, where it is not whole, is dropped; a track shorter than one
second is one frame.

An estimate e of a reference s is written as s plus three errors: what filtering s explains (spatial), what filtering all
references explains beyond that (interference), and the rest (artifacts). The three add up to e - s, so that

    SDR = 10 log10( |s|^2 / |e - s|^2 )

needs no filters. The other three do, and `projections` says how their energies are found.

A frame in which any reference or any estimate is silent (its channels sum to zero at every sample) is NaN for all
sources. Where that holds for a whole track, museval refuses it and here every frame is NaN.

ISR and SIR, and to a lesser degree SAR, are not well defined for every track: filters from references without energy in
part of the spectrum (a low-passed mp3, a sine) are found by solving equations that are singular but for rounding errors,
and museval's values then move by several dB when all signals are only scaled. Such tracks are marked.
"""

import dataclasses
import typing as tp

import numpy as np
import torch

from ..errors import AudioError
from .energies import Energies, decibels, energies
from .projections import frame_energies, least_squares_filters

METRICS = ("SDR", "ISR", "SIR", "SAR")
ILL_CONDITIONED = 2e-12          # below it, ISR and SIR move by about 1e-3 dB and more when all signals are scaled


@dataclasses.dataclass(frozen=True)
class BssEval:
    """Measures of one track.

    `frames` has for each measure an array [S, frames] in dB: NaN where a frame is undefined, inf where an error is exactly
    zero. `condition` is the reciprocal condition number of the equations behind ISR, SIR and SAR (see `Filters`), None
    where they were not asked for or nothing is defined.
    """
    frames: tp.Dict[str, np.ndarray]
    condition: tp.Optional[float]

    @property
    def ill_conditioned(self) -> bool:
        """Whether ISR, SIR and SAR of this track depend on rounding errors."""
        return self.condition is not None and self.condition < ILL_CONDITIONED


def bss_eval(references: torch.Tensor, estimates: torch.Tensor, samplerate: int, *,
             measures: tp.Sequence[str] = METRICS, found: tp.Optional[Energies] = None) -> BssEval:
    """BSSEval v4 of every source in every frame.

    Args:
        references: true sources [S, A, L], float32 or float64, on any device; computing is in float64.
        estimates: their estimates, the same shape and order.
        samplerate: Hz; the window and the hop are this many samples.
        measures: of `METRICS`; SDR alone needs no filters and costs next to nothing.
        found: energies of the sources, where they are known already.

    Raises:
        AudioError: the shapes differ, are not three-dimensional, or hold no sample, or a sample is not finite.
    """
    if references.shape != estimates.shape or references.dim() != 3:
        raise AudioError(f"BSSEval compares signals of one shape [sources, channels, samples]: references are "
                         f"{tuple(references.shape)}, estimates {tuple(estimates.shape)}")
    if references.numel() == 0:
        raise AudioError(f"BSSEval of no samples is undefined: the shape is {tuple(references.shape)}")
    if found is None:
        found = energies(references, estimates, [[index] for index in range(len(references))], samplerate=samplerate)
    signal, error, silent = (values[:found.whole] for values in (found.reference, found.error, found.silent))
    if not torch.isfinite(signal + error).all():
        raise AudioError("BSSEval of samples that are not finite is undefined: check the references and the estimates")
    if found.silent.all(0).any():           # a signal is silent all through
        return BssEval({name: np.full(signal.t().shape, np.nan) for name in measures}, None)
    values = {"SDR": decibels(signal, error)}
    condition = None
    if set(measures) != {"SDR"}:
        filters = least_squares_filters(references, estimates)
        parts = frame_energies(references, estimates, filters, frame=min(samplerate, references.shape[-1]))
        condition = filters.condition
        values.update(ISR=decibels(signal, parts.own_error), SIR=decibels(parts.own, parts.interference),
                      SAR=decibels(parts.explained, parts.artifacts))
    for value in values.values():
        value[silent.flatten(1).any(1)] = torch.nan
    return BssEval({name: values[name].t().cpu().numpy() for name in measures}, condition)


def frame_medians(frames: tp.Mapping[str, np.ndarray]) -> tp.List[tp.Dict[str, tp.Optional[float]]]:
    """Median over the defined frames of each measure, per source.

    Args:
        frames: arrays [S, frames] in dB, as `BssEval.frames` has them.

    Returns:
        One dict per source, measure -> dB. None where no frame is defined or the median is infinite (an exact copy).
    """
    sources = len(next(iter(frames.values())))
    return [{name: _median(values[source]) for name, values in frames.items()} for source in range(sources)]


def _median(values: np.ndarray) -> tp.Optional[float]:
    defined = values[~np.isnan(values)]
    if defined.size == 0:
        return None
    median = float(np.median(defined))
    return median if np.isfinite(median) else None
