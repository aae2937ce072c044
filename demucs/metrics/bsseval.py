"""BSSEval version 4: SDR, ISR, SIR and SAR in frames of one second, computed by museval.

F.-R. Stöter, A. Liutkus, N. Ito, "The 2018 Signal Separation Evaluation Campaign", LVA/ICA 2018 (arXiv:1804.06267);
the decomposition is that of E. Vincent, R. Gribonval, C. Févotte, IEEE TASLP 14(4), 2006. The settings are those of
the published Demucs results: windows of one second without overlap, one set of 512-tap distortion filters for the
whole track, no permutation of sources. The last second, where it is not whole, is dropped; a track shorter than one
second is one frame.

A frame in which any reference or any estimate is silent (its channels sum to zero at every sample) is NaN for all
sources. Where that holds for a whole track, museval refuses it and here every frame is NaN.
"""

import typing as tp

import numpy as np

from ..errors import AudioError

METRICS = ("SDR", "ISR", "SIR", "SAR")


def bss_eval(references: np.ndarray, estimates: np.ndarray, samplerate: int) -> tp.Dict[str, np.ndarray]:
    """The four BSSEval v4 measures of every source in every frame.

    Args:
        references: true sources, shape [S, L, A] (samples before channels, as museval has it); float64 advised.
        estimates: their estimates, the same shape and order.
        samplerate: Hz; the window and the hop are this many samples.

    Returns:
        For each of "SDR", "ISR", "SIR", "SAR" an array [S, frames] in dB; NaN where a frame is undefined, inf where an
        error is exactly zero. Takes about 20 s for 30 s of four stereo sources on two cores.

    Raises:
        AudioError: the shapes differ, are not three-dimensional, or hold no sample.
    """
    if references.shape != estimates.shape or references.ndim != 3:
        raise AudioError(f"BSSEval compares signals of one shape [sources, samples, channels]: references are "
                         f"{references.shape}, estimates {estimates.shape}")
    if references.size == 0:
        raise AudioError(f"BSSEval of no samples is undefined: the shape is {references.shape}")
    if _any_silent(references) or _any_silent(estimates):
        frames = max(1, references.shape[1] // samplerate)
        return {name: np.full((len(references), frames), np.nan) for name in METRICS}
    values = _museval_metrics().bss_eval(
        references, estimates, window=samplerate, hop=samplerate, compute_permutation=False,
        framewise_filters=False, bsseval_sources_version=False)
    return dict(zip(METRICS, values))


def frame_medians(frames: tp.Mapping[str, np.ndarray]) -> tp.List[tp.Dict[str, tp.Optional[float]]]:
    """Median over the defined frames of each measure, per source.

    Args:
        frames: result of `bss_eval`, arrays [S, frames] in dB.

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


def _any_silent(signals: np.ndarray) -> bool:
    return bool((signals.sum(axis=2) == 0).all(axis=1).any())


def _museval_metrics() -> tp.Any:
    """museval's metrics module, imported only when used: the import takes a second and pulls in pandas."""
    import museval.metrics

    # museval 0.4.1 falls back to least squares `except np.linalg.linalg.LinAlgError`, a name that numpy 2.4 removed:
    # without it, one song with linearly dependent stems would end an evaluation of hours with an AttributeError.
    if not hasattr(np.linalg, "linalg"):
        setattr(np.linalg, "linalg", np.linalg)
    return museval.metrics
