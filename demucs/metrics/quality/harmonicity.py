"""Harmonics-to-noise ratio by autocorrelation, as in Praat's "To Harmonicity (ac)".

P. Boersma, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a sampled
sound", Proceedings of the Institute of Phonetic Sciences 17, University of Amsterdam, 1993. The autocorrelation of a
windowed frame, divided by that of the window, estimates the autocorrelation of the signal. Its highest maximum r at a
lag other than zero is the periodic fraction of the power, and

    HNR = 10 log10( r / (1 - r) ).

Position and height of a maximum between samples are found by interpolation with a windowed sinc. The window is Gaussian
and nominally twice as long as `periods_per_window` periods of the lowest pitch, as in Praat. Values equal those of
Praat 6.1 within 0.01 dB up to 50 dB; above, 1 - r is so small that rounding errors matter.
"""

import typing as tp

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ...errors import AudioError

LIMIT = 150.                     # dB: limit of the absolute value for a frame with a maximum
FRAMES_AT_ONCE = 64
REACH = 0.25                     # largest lag of autocorrelations as a fraction of the window length
NEARLY = 0.8                     # maxima are refined if they exceed this fraction of the highest one at half samples
ASIDE = 1e-7                     # shift in samples of an offset on a sample, where the sinc would be 0 / 0
# Maxima are searched with parabolas through three points of the interpolated function, at decreasing distances: first
# with a sinc over few samples, then, for the highest of each frame, with a sinc as long as Praat's.
SEARCH = ((60, (0.25, 0.08), 10 ** 6), (700, (0.06, 0.01), 4))      # samples on each side, steps, number of maxima


class Harmonicity(tp.NamedTuple):
    """Harmonics-to-noise ratio of frames: `values` [frames] in dB, NaN for silent frames and those without a periodic
    component; `times` [frames], the middle of each frame in seconds."""
    times: np.ndarray
    values: np.ndarray

    @property
    def mean(self) -> float:
        """Mean over the frames with a value, in dB; NaN if there are none."""
        defined = self.values[~np.isnan(self.values)]
        return float(defined.mean()) if defined.size else float("nan")


def harmonicity(signal: np.ndarray, samplerate: float, *, time_step: float = 0.01, minimum_pitch: float = 75.,
                silence_threshold: float = 0.1, periods_per_window: float = 4.5) -> Harmonicity:
    """Harmonics-to-noise ratio of a sound in frames, within +-150 dB. If the whole signal is silent (constant), all
    values are NaN.

    Args:
        signal: [L] or [A, L]; the autocorrelations of channels are added, so that channels cannot cancel each other.
        samplerate: sample rate in Hz.
        time_step: seconds from one frame to the next.
        minimum_pitch: lowest pitch in Hz; frames are `2 * periods_per_window / minimum_pitch` seconds long.
        silence_threshold: frames whose peak, within the period of `minimum_pitch` at their middle, is below this
            fraction of the peak of the whole signal are silent; up to twice this fraction, only sufficiently periodic
            frames have a value. 0: no frame is silent for its peak.
        periods_per_window: fewer give a better time resolution, more a better distinction of periodic and noisy frames.

    Raises:
        AudioError: for a signal of another shape, shorter than one frame, or not finite; if `time_step`,
            `minimum_pitch` or `periods_per_window` is not positive, or the sample rate is below 8 times
            `minimum_pitch`.
    """
    signal = np.atleast_2d(np.asarray(signal, dtype=np.float64))
    if signal.ndim != 2:
        raise AudioError(f"harmonicity takes [samples] or [channels, samples], got the shape {signal.shape}")
    if not (minimum_pitch > 0 and periods_per_window > 0 and time_step > 0 and samplerate >= 8 * minimum_pitch):
        raise AudioError(f"harmonicity needs positive settings and a sample rate of at least 8 x minimum_pitch: "
                         f"time_step={time_step}, minimum_pitch={minimum_pitch}, "
                         f"periods_per_window={periods_per_window}, samplerate={samplerate}")
    if not np.isfinite(signal).all():
        raise AudioError("harmonicity of samples that are not finite is undefined: check the signal")
    length = signal.shape[-1]
    duration = 2 * periods_per_window / minimum_pitch
    half = int(duration * samplerate) // 2 - 1
    frames = int(np.floor((length / samplerate - duration) / time_step)) + 1
    if frames < 1:
        raise AudioError(f"the signal lasts {length / samplerate:.3f} s, but harmonicity with minimum_pitch="
                         f"{minimum_pitch:g} Hz needs at least {duration:.3f} s: give more, or a higher pitch")
    times = length / samplerate / 2 + (np.arange(frames) - (frames - 1) / 2) * time_step
    values = np.full(frames, np.nan)
    signal = signal - signal.mean(axis=1, keepdims=True)
    peak = np.abs(signal).max()
    if peak == 0:
        return Harmonicity(times, values)
    centres = np.floor(times * samplerate + 0.5).astype(int)       # samples before the middle of each frame
    period = int(samplerate / minimum_pitch)
    window = _gaussian(2 * half)
    for begin in range(0, frames, FRAMES_AT_ONCE):
        part = slice(begin, min(frames, begin + FRAMES_AT_ONCE))
        framed = _windowed(signal, centres[part], window, period)  # [A, frames, 2 half]
        middle = framed[..., max(0, half - period // 2 - 1):half + period // 2 + 1]
        loudness = np.minimum(1, np.abs(middle).max(axis=(0, 2)) / peak)
        silent = np.maximum(0, 2 - loudness / silence_threshold) if silence_threshold > 0 else np.zeros(len(loudness))
        best = _highest(_autocorrelation(framed, window), 1 + int(2 * half / (2 * periods_per_window)))
        voiced = best > silent
        values[part][voiced] = _decibels(best[voiced])
    return Harmonicity(times, values)


def hnr(signal: np.ndarray, samplerate: float, **settings: float) -> float:
    """Mean harmonics-to-noise ratio in dB over the frames of a signal that have a value, see `Harmonicity`; NaN if none
    has.

    `settings` and errors are those of `harmonicity`.
    """
    return harmonicity(signal, samplerate, **settings).mean


def _gaussian(length: int) -> np.ndarray:
    """Boersma's window for high harmonicities: a Gaussian, shifted and scaled to the range from 0 to 1."""
    position = (np.arange(1, length + 1) - (length + 1) / 2) / (length + 1)
    edge = np.exp(-12)
    return (np.exp(-48 * position ** 2) - edge) / (1 - edge)


def _windowed(signal: np.ndarray, centres: np.ndarray, window: np.ndarray, period: int) -> np.ndarray:
    """Windowed frames [A, frames, window] around `centres`, minus their mean over the two central periods."""
    half = len(window) // 2
    framed = sliding_window_view(signal, len(window), axis=1)[:, centres - half]
    around = framed[..., half - period:half + period] if half >= period else framed
    return (framed - around.mean(axis=-1, keepdims=True)) * window


def _autocorrelation(framed: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Autocorrelations [frames, 2 lags - 1] of the signal from windowed frames [A, frames, window], at every half
    sample: 1 at lag 0; all 0 for a silent frame."""
    lags = int(len(window) * REACH) + 1
    size = 1 << int(len(window) * (1 + REACH) - 1).bit_length()

    def lagged(x: np.ndarray) -> np.ndarray:
        power = np.abs(np.fft.rfft(x, size)) ** 2
        power = power.reshape(-1, *power.shape[-2:]).sum(axis=0)
        power[..., -1] /= 2          # the Nyquist bin is split into two bins at twice the sample rate
        return np.fft.irfft(power, 2 * size)[..., :2 * lags - 1]
    own, weight = lagged(framed), lagged(window[None])
    power = own[:, :1]
    return np.divide(own, power, out=np.zeros_like(own), where=power > 0) * (weight[:, :1] / weight)


def _highest(fine: np.ndarray, last: int) -> np.ndarray:
    """Height of the highest maximum at lags from 2 to `last`, of autocorrelations [frames, half samples]: [frames].

    0 if there is no maximum above 0. A height above 1, from a signal of changing level, is replaced by 1 / height.
    """
    correlation = fine[:, ::2]
    last = min(last, correlation.shape[1] - 2)
    before, at, after = correlation[:, 1:last], correlation[:, 2:last + 1], correlation[:, 3:last + 2]
    around = sliding_window_view(fine[:, 2:2 * last + 3], 5, axis=1)[:, ::2]         # from a sample before to one after
    rough = np.where((at > 0) & (at > before) & (at >= after), around.max(axis=-1), 0.)
    kept = (rough > 0) & (rough >= NEARLY * rough.max(axis=1, keepdims=True))
    rows, lags = np.nonzero(kept)
    offsets = around[rows, lags].argmax(axis=-1) / 2 - 1
    lags = lags + 2
    heights = np.zeros(len(rows))
    for depth, steps, most in SEARCH:
        chosen = _highest_of_each_row(rows, heights, most)
        rows, lags = rows[chosen], lags[chosen]
        offsets, heights = _maximised(_interpolated(correlation, rows, lags, depth), offsets[chosen], steps)
        heights = np.where(heights > 1, 1 / heights, heights)
    best = np.zeros(len(rough))
    np.maximum.at(best, rows, heights)
    return best


def _highest_of_each_row(rows: np.ndarray, heights: np.ndarray, most: int) -> np.ndarray:
    """Indices of the `most` highest candidates of each row; `rows` is sorted."""
    order = np.lexsort((-heights, rows))
    return order[np.arange(len(rows)) - np.searchsorted(rows, rows) < most]


def _maximised(height: tp.Callable[[np.ndarray], np.ndarray], offset: np.ndarray, steps: tp.Sequence[float]
               ) -> tp.Tuple[np.ndarray, np.ndarray]:
    """Offsets [candidates] of maxima near `offset`, at most one sample from the lag, and their heights."""
    best = height(offset)
    for step in steps:
        low, high = height(offset - step), height(offset + step)
        curve = low - 2 * best + high
        move = np.where(curve < 0, 0.5 * (low - high) / np.where(curve < 0, curve, 1), 0.) * step
        offset = np.clip(offset + np.clip(move, -step, step), -1, 1)
        best = height(offset)
    return offset, best


def _interpolated(correlation: np.ndarray, rows: np.ndarray, lags: np.ndarray, depth: int
                  ) -> tp.Callable[[np.ndarray], np.ndarray]:
    """Function from offsets [candidates], in samples from each (row, lag), to interpolated autocorrelations.

    The sinc has `depth` samples on either side, fewer near the last lag, and is tapered by a raised cosine.
    """
    last = correlation.shape[1] - 1
    depth = min(depth, last)
    mirrored = np.concatenate([correlation[:, :0:-1], correlation], axis=1)          # autocorrelation is even
    taps = np.arange(-depth, depth + 1)
    samples = mirrored[rows[:, None], np.minimum(lags[:, None] + taps + last, 2 * last)]
    samples *= np.where(taps % 2, -1, 1)

    def height(offset: np.ndarray) -> np.ndarray:
        offset = np.where(offset == np.round(offset), offset + ASIDE, offset)
        below = np.floor(offset)
        reach = np.minimum(depth, last - lags - below)
        part = offset - below
        distance = offset[:, None] - taps
        width = np.where(distance > 0, (reach + part)[:, None], (reach + 1 - part)[:, None])
        taper = 0.5 + 0.5 * np.cos(np.pi * np.minimum(1, np.abs(distance) / width))
        return (samples * taper / distance).sum(axis=1) * np.sin(np.pi * offset) / np.pi
    return height


def _decibels(part: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.clip(10 * np.log10(part) - 10 * np.log10(1 - part), -LIMIT, LIMIT)
