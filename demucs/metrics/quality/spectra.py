"""Short-time spectra in numpy, energies, and checks of the input, shared by several measures."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ...errors import AudioError

FRAMES_AT_ONCE = 1024     # limits memory: all overlapping frames would take several times the memory of the signal


def spectra(signal: np.ndarray, *, n_fft: int, hop: int) -> np.ndarray:
    """Complex spectra [..., n_fft // 2 + 1, T] of signals [..., L], with T = 1 + L // hop.

    The window is a periodic Hann window, frames are centred on multiples of `hop`, with zero padding and without
    normalisation, as in `librosa.stft`. Single precision is kept.
    """
    half = n_fft // 2
    padded = np.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(half, half)])
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)).astype(signal.dtype)
    framed = sliding_window_view(padded, n_fft, axis=-1)[..., ::hop, :]
    frames = framed.shape[-2]
    result = np.empty((*signal.shape[:-1], half + 1, frames), dtype=np.result_type(signal.dtype, np.complex64))
    for begin in range(0, frames, FRAMES_AT_ONCE):
        part = slice(begin, min(frames, begin + FRAMES_AT_ONCE))
        result[..., part] = np.swapaxes(np.fft.rfft(framed[..., part, :] * window), -1, -2)
    return result


def signals(wav: np.ndarray, what: str, *, dimensions: int) -> np.ndarray:
    """Array `wav`, converted to float64 unless it is float32 or float64, after these checks. `what` is its name in
    error messages, `dimensions` the required number of dimensions.

    Raises:
        AudioError: if it has another number of dimensions, no samples, or a sample that is not finite.
    """
    wav = np.asarray(wav)
    if wav.dtype not in (np.float32, np.float64):
        wav = wav.astype(np.float64)
    if wav.ndim != dimensions:
        names = ["samples", "channels", "sources", "passes"][dimensions - 1::-1]
        raise AudioError(f"{what}: wanted [{', '.join(names)}], got the shape {wav.shape}")
    if wav.size == 0:
        raise AudioError(f"{what}: there are no samples in the shape {wav.shape}")
    if not np.isfinite(wav).all():
        raise AudioError(f"{what}: some samples are not finite; check the files, or the precision they were made with")
    return wav


def same_length(estimates: np.ndarray, mixture: np.ndarray) -> None:
    """Check that estimates [S, A, L] and a mixture [A, L] agree in channels and length.

    Raises:
        AudioError: if they do not.
    """
    if estimates.shape[1:] != mixture.shape:
        raise AudioError(f"estimates are [sources, channels, samples] = {estimates.shape}, which does not fit a "
                         f"mixture of {mixture.shape}: convert or trim one of them")


def energy(wav: np.ndarray) -> np.ndarray:
    """Sums of squares of `wav` over channels and samples, in float64: [..., A, L] -> [...]."""
    return np.square(wav, dtype=np.float64).sum(axis=(-2, -1))


def ratio_in_decibels(part: np.ndarray, whole: np.ndarray, floor: float) -> np.ndarray:
    """10 log10(part / whole) elementwise, at least `floor` (dB); NaN where `whole` is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole > 0, np.maximum(floor, 10 * np.log10(np.divide(part, whole))), np.nan)
