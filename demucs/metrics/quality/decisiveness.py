"""Decisiveness: the expected SDR of the estimates if their mask values were probabilities.

This measure is our own, after the posterior variance of Wiener filters in audio (A. Liutkus, R. Badeau, G. Richard,
"Gaussian processes for underdetermined source separation", IEEE TSP 59(7), 2011). A separator that minimises its error
estimates an expectation: if the source of a time-frequency bin is uncertain, its energy is divided between estimates.
So the shares indicate the certainty. Let m be the share of an estimate in the magnitudes of all estimates at each bin,
and X the mixture. A source that owns the bin with probability m has the expected energy m |X|^2 there, and an expected
error of m (1 - m) |X|^2. Over a song,

    decisiveness = 10 log10( sum m |X|^2 / sum m (1 - m) |X|^2 ).

It is 0 dB for an estimate with almost no share anywhere, 1.2 dB if four sources have equal shares, and high if each bin
has one source. It does not detect confident errors: wrong but certain estimates, and all energy in one estimate, score
well.
"""

import numpy as np

from ...errors import AudioError
from .spectra import ratio_in_decibels, same_length, signals, spectra

N_FFT, HOP = 2048, 512
LIMIT = 60.      # dB


def decisiveness(estimates: np.ndarray, mixture: np.ndarray) -> np.ndarray:
    """Decisiveness of each of the estimates [S, A, L] of a mixture [A, L], S >= 2: the expected signal-to-error ratio
    in dB, [S], from 0 to 60. Higher is better; definition at the top of this module.

    NaN for an estimate that is silent in all bins in which the mixture is not.

    Raises:
        AudioError: for shapes that do not fit, a single estimate, no samples, or samples that are not finite.
    """
    estimates, mixture = signals(estimates, "estimates", dimensions=3), signals(mixture, "mixture", dimensions=2)
    same_length(estimates, mixture)
    if len(estimates) < 2:
        raise AudioError("decisiveness is about the shares of several estimates: give at least two")
    signal, error = np.zeros((2, len(estimates)))
    for channel, whole in enumerate(mixture):
        weight = np.square(np.abs(spectra(whole, n_fft=N_FFT, hop=HOP)))
        magnitudes = [np.abs(spectra(estimate[channel], n_fft=N_FFT, hop=HOP)) for estimate in estimates]
        total = sum(magnitudes)
        total[total == 0] = 1
        for source, magnitude in enumerate(magnitudes):
            share = magnitude / total
            signal[source] += (share * weight).sum(dtype=np.float64)
            error[source] += (share * (1 - share) * weight).sum(dtype=np.float64)
    return -ratio_in_decibels(error, signal, -LIMIT)
