"""Harmonic-to-percussive ratio, by median filtering of a spectrogram.

D. FitzGerald, "Harmonic/percussive separation using median filtering", DAFx-10, Graz 2010. Harmonic sounds make ridges
along time, percussive sounds make ridges along frequency: a median over time keeps the former, a median over frequency
the latter. Soft masks from both divide the spectrogram (J. Driedger, M. Müller, S. Disch, "Extending
harmonic-percussive separation of audio signals", ISMIR 2014, for the margins). Names and values are those of librosa
0.11.
"""

import typing as tp

import numpy as np
from scipy.ndimage import median_filter

from ...errors import AudioError
from .spectra import signals, spectra

N_FFT, HOP = 2048, 512
KERNEL = 31
LIMIT = 100.        # dB: limit of the absolute value of the ratio


def masks(magnitude: np.ndarray, *, kernel_size: tp.Union[int, tp.Tuple[int, int]] = KERNEL, power: float = 2.,
          margin: tp.Union[float, tp.Tuple[float, float]] = 1.) -> tp.Tuple[np.ndarray, np.ndarray]:
    """(harmonic mask, percussive mask) for spectral magnitudes [..., F, T], of the same shape, in [0, 1].

    Args:
        magnitude: magnitudes [..., F, T], not negative.
        kernel_size: odd lengths of the median filters, (frames along time, bins along frequency), or one for both.
        power: exponent of the soft masks; infinite for binary masks.
        margin: factor by which one part must exceed the other, (harmonic, percussive) or one for both, at least 1. With
            1 and a finite `power` the masks add up to 1.

    Raises:
        AudioError: for an invalid setting.
    """
    harmonic_size, percussive_size = kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)
    harmonic_margin, percussive_margin = margin if isinstance(margin, tuple) else (margin, margin)
    if min(harmonic_size, percussive_size) < 1 or not (harmonic_size % 2 and percussive_size % 2):
        raise AudioError(f"kernel_size={kernel_size}: medians are taken over an odd number of frames and of bins")
    if min(harmonic_margin, percussive_margin) < 1 or not power > 0:
        raise AudioError(f"margin={margin} must be at least 1, and power={power} positive")
    harmonic = _median(magnitude, harmonic_size)
    percussive = np.swapaxes(_median(np.swapaxes(magnitude, -1, -2), percussive_size), -1, -2)
    shared = harmonic_margin == 1 and percussive_margin == 1
    return (_soft_mask(harmonic, percussive * harmonic_margin, power, shared),
            _soft_mask(percussive, harmonic * percussive_margin, power, shared))


def hpss(spectrogram: np.ndarray, **settings: tp.Any) -> tp.Tuple[np.ndarray, np.ndarray]:
    """(harmonic part, percussive part) of a real or complex spectrogram [..., F, T]: its products with the two masks.
    `settings` and errors are those of `masks`."""
    harmonic, percussive = masks(np.abs(spectrogram), **settings)
    return spectrogram * harmonic, spectrogram * percussive


def hpr(signal: np.ndarray, **settings: tp.Any) -> float:
    """Energy ratio of the harmonic to the percussive part of a signal [A, L], in dB, within +-100; NaN for silence.
    Energies are summed over channels.

    The spectra have windows of 2048 samples and a hop of 512. `settings` are those of `masks`; with a margin above 1, a
    residual belongs to neither part.

    Raises:
        AudioError: for a signal of another shape, without samples, or not finite, and for invalid settings.
    """
    energies = np.zeros(2)
    for channel in signals(signal, "harmonic-to-percussive ratio", dimensions=2):
        z = spectra(channel, n_fft=N_FFT, hop=HOP)
        energies += [np.square(np.abs(part), dtype=np.float64).sum() for part in hpss(z, **settings)]
    if energies.sum() == 0:
        return float("nan")
    with np.errstate(divide="ignore"):
        return float(np.clip(10 * np.log10(energies[0]) - 10 * np.log10(energies[1]), -LIMIT, LIMIT))


def _median(x: np.ndarray, size: int) -> np.ndarray:
    """Running median over the last dimension, with symmetric padding at both ends.

    All rows are concatenated, since scipy's median filter is faster for one-dimensional signals
    (`benchmarks/bench_layers.py`).
    """
    half = size // 2
    if half == 0:
        return x
    padded = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(half, half)], mode="symmetric")
    return median_filter(padded.reshape(-1), size=size).reshape(padded.shape)[..., half:-half]


def _soft_mask(part: np.ndarray, other: np.ndarray, power: float, shared: bool) -> np.ndarray:
    """Soft mask part^power / (part^power + other^power); where both are zero, 1/2 if the two masks add up to 1, else
    0."""
    if np.isinf(power):
        return (part > other).astype(part.dtype)
    larger = np.maximum(part, other)
    sound = larger >= np.finfo(part.dtype).tiny
    larger = np.where(sound, larger, 1)
    own, rest = (part / larger) ** power, (other / larger) ** power
    return np.divide(own, own + rest, out=np.full_like(own, 0.5 if shared else 0.), where=sound)
