"""Decisiveness: the SDR that estimates would have if each were what a sure guess makes of its share of the mixture.

A candidate of our own, after the posterior variance of Wiener filters in audio (A. Liutkus, R. Badeau, G. Richard,
"Gaussian processes for underdetermined source separation", IEEE TSP 59(7), 2011). A separator that minimises its error
answers with an expectation: where it cannot tell whose sound a point of the spectrogram is, it deals the sound out. So
the shares tell how sure it was. With the share m of an estimate in the magnitudes of all estimates at each point, and
the mixture X, a source that takes all of a point with probability m, and else nothing, has there the energy m |X|^2,
and m (1 - m) |X|^2 of it is lost on average. Over a song,

    decisiveness = 10 log10( sum m |X|^2 / sum m (1 - m) |X|^2 ).

0 dB for an estimate with next to no share in anything; 1.2 dB where four sources share alike; high where each point has
one owner. It believes what it is told: estimates that are sure and wrong, and all the sound in one estimate, look good.
"""

import numpy as np

from ...errors import AudioError
from .spectra import ratio_in_decibels, same_length, signals, spectra

N_FFT, HOP = 2048, 512
LIMIT = 60.      # dB


def decisiveness(estimates: np.ndarray, mixture: np.ndarray) -> np.ndarray:
    """Expected signal-to-error ratio of estimates [S, A, L] of a mixture [A, L], in dB: [S], from 0 to 60.

    NaN for an estimate that is silent wherever the mixture sounds.

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
