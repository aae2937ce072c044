"""BSSEval version 4: SDR, ISR, SIR and SAR in frames of one second, with the values of museval in a fraction of its
time.

F.-R. Stöter, A. Liutkus, N. Ito, "The 2018 Signal Separation Evaluation Campaign", LVA/ICA 2018 (arXiv:1804.06267);
the decomposition is that of E. Vincent, R. Gribonval, C. Févotte, IEEE TASLP 14(4), 2006. The settings are those of
the published Demucs results: windows of one second without overlap, one set of 512-tap distortion filters for the
whole track, no permutation of sources. An incomplete last frame is dropped; a track shorter than one second is one
frame.

An estimate e of a reference s is decomposed into s and three errors: the part explained by filtering s (spatial
distortion), the further part explained by filtering all references (interference), and the remainder (artifacts). The
three add up to e - s, so that

    SDR = 10 log10( |s|^2 / |e - s|^2 )

needs no filters. ISR, SIR and SAR do; `projections` computes their energies.

A frame in which any reference or any estimate is silent (its channels sum to zero at every sample) is NaN for all
sources. If a signal is silent in the whole track, museval raises an error, and here every frame is NaN.

ISR and SIR, and to a lesser degree SAR, are not well defined for every track. For references without energy in part of
the spectrum (a low-passed mp3, a sine), the normal equations of the filters are singular up to rounding errors, and
museval's values then change by several dB if all signals are only scaled. Such tracks are marked as ill-conditioned.
"""

import dataclasses
import typing as tp

import numpy as np
import torch

from ..errors import AudioError
from .energies import Energies, decibels, energies
from .projections import frame_energies, least_squares_filters

METRICS = ("SDR", "ISR", "SIR", "SAR")
ILL_CONDITIONED = 2e-12          # below it, ISR and SIR change by about 1e-3 dB or more if all signals are scaled


@dataclasses.dataclass(frozen=True)
class BssEval:
    """BSSEval measures of one track.

    `frames` contains for each measure an array [S, frames] in dB: NaN for an undefined frame, inf for an error of
    exactly zero. `condition` is the reciprocal condition number of the normal equations of ISR, SIR and SAR (see
    `Filters`), None if these were not computed or no frame is defined.
    """
    frames: tp.Dict[str, np.ndarray]
    condition: tp.Optional[float]

    @property
    def ill_conditioned(self) -> bool:
        """Whether ISR, SIR and SAR of this track depend on rounding errors. False if they were not computed."""
        return self.condition is not None and self.condition < ILL_CONDITIONED


def bss_eval(references: torch.Tensor, estimates: torch.Tensor, samplerate: int, *,
             measures: tp.Sequence[str] = METRICS, found: tp.Optional[Energies] = None) -> BssEval:
    """BSSEval v4 measures of every source in every frame of one second.

    Args:
        references: reference sources [S, A, L], float32 or float64, on any device with float64; computed in float64.
        estimates: their estimates, of the same shape and order.
        samplerate: sample rate in Hz; window and hop are this many samples.
        measures: some of `METRICS`; SDR alone needs no filters and is very fast.
        found: energies of the S sources, if already computed by `energies`.

    Raises:
        AudioError: if the shapes differ, are not three-dimensional or empty, or a sample is not finite.
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
    if found.silent.all(0).any():           # a signal is silent in the whole track
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
    """Median over the frames of each measure that are not NaN, per source.

    Args:
        frames: arrays [S, frames] in dB, as in `BssEval.frames`.

    Returns:
        One dict per source, measure -> dB; None if no frame is defined or the median is infinite (an exact copy).
    """
    sources = len(next(iter(frames.values())))
    return [{name: _median(values[source]) for name, values in frames.items()} for source in range(sources)]


def _median(values: np.ndarray) -> tp.Optional[float]:
    defined = values[~np.isnan(values)]
    if defined.size == 0:
        return None
    median = float(np.median(defined))
    return median if np.isfinite(median) else None
