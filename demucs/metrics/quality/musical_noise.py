"""Musical noise: the isolated blips that time-frequency masks leave behind, by the kurtosis ratio.

Y. Uemura, Y. Takahashi, H. Saruwatari, K. Shikano, K. Kondo, "Automatic optimization scheme of spectral subtraction
based on musical noise assessment via higher-order statistics", IWAENC 2008. Blips with holes between them make the
power in a frequency bin peaky over time. Its kurtosis (fourth moment by the square of the second, both about zero)
after processing by that before grows with what is heard as musical noise. It was made for stationary noise; a source
that plays seldom is peaky without any fault of its separation.
"""

import numpy as np

from ...errors import AudioError
from .spectra import same_length, signals, spectra

N_FFT, HOP = 1024, 512
SILENT = 1e-7             # bins with less than this part (-70 dB) of the mean power of all bins are left out
LEAST_FRAMES = 16


def kurtosis_ratio(estimates: np.ndarray, mixture: np.ndarray) -> np.ndarray:
    """Kurtosis of the power in a bin of each estimate [S, A, L] by that of the mixture [A, L], in dB: [S].

    10 log10 of the ratio, averaged over bins and channels where neither is silent; 0 dB for the mixture itself. NaN
    where there is no such bin.

    Raises:
        AudioError: for shapes that do not fit, fewer than 8192 samples, or samples that are not finite.
    """
    estimates, mixture = signals(estimates, "estimates", dimensions=3), signals(mixture, "mixture", dimensions=2)
    same_length(estimates, mixture)
    if mixture.shape[-1] < LEAST_FRAMES * HOP:
        raise AudioError(f"the kurtosis of power needs at least {LEAST_FRAMES * HOP} samples, got {mixture.shape[-1]}")
    before, sounds = _kurtosis(mixture)
    result = np.full(len(estimates), np.nan)
    for source, estimate in enumerate(estimates):
        after, heard = _kurtosis(estimate)
        both = sounds & heard
        if both.any():
            result[source] = 10 * np.log10(after[both] / before[both]).mean()
    return result


def _kurtosis(wav: np.ndarray) -> tuple:
    """Kurtosis [A, F] of the power of [A, L] over frames, and where there is enough power to have one."""
    power = np.square(np.abs(spectra(wav, n_fft=N_FFT, hop=HOP)), dtype=np.float64)
    mean = power.mean(axis=-1)
    sounds = mean > SILENT * mean.mean()
    unit = power / np.where(sounds, mean, 1)[..., None]
    square = np.square(unit)
    moments = [np.where(sounds, moment, 1) for moment in (np.square(square).mean(axis=-1), square.mean(axis=-1))]
    return moments[0] / moments[1] ** 2, sounds
