"""Kurtosis ratio, a measure of musical noise: isolated tonal artifacts of time-frequency masks.

Y. Uemura, Y. Takahashi, H. Saruwatari, K. Shikano, K. Kondo, "Automatic optimization scheme of spectral subtraction
based on musical noise assessment via higher-order statistics", IWAENC 2008. Isolated artifacts make the power in a
frequency bin peaky over time. The ratio of its kurtosis (fourth moment over the square of the second, both about zero)
after and before processing grows with the perceived musical noise. The measure was developed for stationary noise; a
source that plays rarely is peaky even if it is separated perfectly.
"""

import numpy as np

from ...errors import AudioError
from .spectra import same_length, signals, spectra

N_FFT, HOP = 1024, 512
SILENT = 1e-7             # bins below this fraction (-70 dB) of the mean power of all bins are excluded
LEAST_FRAMES = 16


def kurtosis_ratio(estimates: np.ndarray, mixture: np.ndarray) -> np.ndarray:
    """Kurtosis of the power of each estimate [S, A, L] relative to that of the mixture [A, L], in dB: [S]. Lower means
    less musical noise.

    The ratio of each frequency bin and channel is converted to dB, and averaged over those where neither signal is
    silent; 0 dB for the mixture itself. NaN if there is no such bin.

    Raises:
        AudioError: for inconsistent shapes, fewer than 8192 samples, or samples that are not finite.
    """
    estimates, mixture = signals(estimates, "estimates", dimensions=3), signals(mixture, "mixture", dimensions=2)
    same_length(estimates, mixture)
    if mixture.shape[-1] < LEAST_FRAMES * HOP:
        raise AudioError(f"the kurtosis of power needs at least {LEAST_FRAMES * HOP} samples, got {mixture.shape[-1]}")
    before, active = _kurtosis(mixture)
    result = np.full(len(estimates), np.nan)
    for source, estimate in enumerate(estimates):
        after, active_estimate = _kurtosis(estimate)
        both = active & active_estimate
        if both.any():
            result[source] = 10 * np.log10(after[both] / before[both]).mean()
    return result


def _kurtosis(wav: np.ndarray) -> tuple:
    """Kurtosis [A, F] over frames of the power of [A, L], and a mask of the bins that are not silent."""
    power = np.square(np.abs(spectra(wav, n_fft=N_FFT, hop=HOP)), dtype=np.float64)
    mean = power.mean(axis=-1)
    active = mean > SILENT * mean.mean()
    unit = power / np.where(active, mean, 1)[..., None]
    square = np.square(unit)
    moments = [np.where(active, moment, 1) for moment in (np.square(square).mean(axis=-1), square.mean(axis=-1))]
    return moments[0] / moments[1] ** 2, active
