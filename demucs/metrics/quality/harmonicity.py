"""Harmonics-to-noise ratio by autocorrelation, as Praat's "To Harmonicity (ac)" measures it.

P. Boersma, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a sampled
sound", Proceedings of the Institute of Phonetic Sciences 17, University of Amsterdam, 1993. The autocorrelation of a
windowed frame, divided by that of the window, is an estimate of the sound's own. Its highest maximum r at a lag other
than zero is the periodic part of the power, and

    HNR = 10 log10( r / (1 - r) ).

The position and height of a maximum are found between the samples by interpolation with a windowed sinc. The window is
Gaussian and nominally twice as long as `periods_per_window` periods of the lowest pitch, as Praat's is. Values are
those of Praat 6.1 within 0.01 dB up to 50 dB; above, 1 - r is so small that rounding shows.
"""

import typing as tp

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ...errors import AudioError

LIMIT = 150.                     # dB: what is reported at most, and at least, for a frame with a maximum
FRAMES_AT_ONCE = 64
REACH = 0.25                     # part of the window length that autocorrelations are used up to
NEARLY = 0.8                     # maxima are looked at closely that come this near the highest at half samples
ASIDE = 1e-7                     # samples that a place is moved, where it would be on a sample and a sinc is 0 / 0
# Maxima are searched with parabolas through three points of the interpolated function, ever closer together: first with
# a sinc that reaches over few samples, then, the highest of each frame, with one that reaches as far as Praat's.
SEARCH = ((60, (0.25, 0.08), 10 ** 6), (700, (0.06, 0.01), 4))      # samples to either side, steps, how many maxima


class Harmonicity(tp.NamedTuple):
    """`values` [frames] in dB, NaN where nothing periodic is louder than silence; `times` [frames] in seconds."""
    times: np.ndarray
    values: np.ndarray

    @property
    def mean(self) -> float:
        """Mean over the frames that have a value, in dB; NaN where none has one."""
        defined = self.values[~np.isnan(self.values)]
        return float(defined.mean()) if defined.size else float("nan")


def harmonicity(signal: np.ndarray, samplerate: float, *, time_step: float = 0.01, minimum_pitch: float = 75.,
                silence_threshold: float = 0.1, periods_per_window: float = 4.5) -> Harmonicity:
    """Harmonics-to-noise ratio of a sound in frames.

    Args:
        signal: [L] or [A, L]; the autocorrelations of channels are added, so that no channel cancels another.
        samplerate: Hz.
        time_step: seconds from one frame to the next.
        minimum_pitch: Hz; frames are `2 * periods_per_window / minimum_pitch` seconds long.
        silence_threshold: frames whose peak is less than this part of the peak of the whole sound count as silent.
        periods_per_window: fewer follow faster changes, more tell periodic from noisy better.

    Raises:
        AudioError: for a signal of another shape, shorter than one frame, or not finite; for settings that leave less
            than a few samples per period.
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
    """Mean harmonics-to-noise ratio over the frames of a sound that are not silent, in dB; NaN where all are.

    Arguments and errors are those of `harmonicity`.
    """
    return harmonicity(signal, samplerate, **settings).mean


def _gaussian(length: int) -> np.ndarray:
    """Boersma's window for high harmonicities: a Gaussian, lowered and scaled to run from 0 to 1."""
    place = (np.arange(1, length + 1) - (length + 1) / 2) / (length + 1)
    edge = np.exp(-12)
    return (np.exp(-48 * place ** 2) - edge) / (1 - edge)


def _windowed(signal: np.ndarray, centres: np.ndarray, window: np.ndarray, period: int) -> np.ndarray:
    """Frames [A, frames, window] around `centres`, without their mean over two periods in the middle."""
    half = len(window) // 2
    framed = sliding_window_view(signal, len(window), axis=1)[:, centres - half]
    around = framed[..., half - period:half + period] if half >= period else framed
    return (framed - around.mean(axis=-1, keepdims=True)) * window


def _autocorrelation(framed: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Autocorrelations [frames, 2 lags - 1] of the sound in windowed frames [A, frames, window], at every half sample:
    1 at lag 0. All 0 for a frame of silence."""
    lags = int(len(window) * REACH) + 1
    size = 1 << int(len(window) * (1 + REACH) - 1).bit_length()

    def lagged(x: np.ndarray) -> np.ndarray:
        power = np.abs(np.fft.rfft(x, size)) ** 2
        power = power.reshape(-1, *power.shape[-2:]).sum(axis=0)
        power[..., -1] /= 2          # what was the last bin has a mirror image at twice the rate
        return np.fft.irfft(power, 2 * size)[..., :2 * lags - 1]
    own, weight = lagged(framed), lagged(window[None])
    power = own[:, :1]
    return np.divide(own, power, out=np.zeros_like(own), where=power > 0) * (weight[:, :1] / weight)


def _highest(fine: np.ndarray, last: int) -> np.ndarray:
    """Height of the highest maximum at lags from 2 to `last`, of autocorrelations [frames, half samples]: [frames].

    0 where there is no maximum above 0. A height above 1, from a sound that grows or fades, is mirrored to 1 / height.
    """
    correlation = fine[:, ::2]
    last = min(last, correlation.shape[1] - 2)
    before, here, after = correlation[:, 1:last], correlation[:, 2:last + 1], correlation[:, 3:last + 2]
    around = sliding_window_view(fine[:, 2:2 * last + 3], 5, axis=1)[:, ::2]         # from a sample before to one after
    rough = np.where((here > 0) & (here > before) & (here >= after), around.max(axis=-1), 0.)
    kept = (rough > 0) & (rough >= NEARLY * rough.max(axis=1, keepdims=True))
    rows, lags = np.nonzero(kept)
    places = around[rows, lags].argmax(axis=-1) / 2 - 1
    lags = lags + 2
    heights = np.zeros(len(rows))
    for depth, steps, most in SEARCH:
        chosen = _first_of_each(rows, heights, most)
        rows, lags = rows[chosen], lags[chosen]
        places, heights = _climb(_interpolated(correlation, rows, lags, depth), places[chosen], steps)
        heights = np.where(heights > 1, 1 / heights, heights)
    best = np.zeros(len(rough))
    np.maximum.at(best, rows, heights)
    return best


def _first_of_each(rows: np.ndarray, heights: np.ndarray, most: int) -> np.ndarray:
    """Places of the `most` highest candidates of each row; `rows` is sorted."""
    order = np.lexsort((-heights, rows))
    return order[np.arange(len(rows)) - np.searchsorted(rows, rows) < most]


def _climb(height: tp.Callable[[np.ndarray], np.ndarray], place: np.ndarray, steps: tp.Sequence[float]
           ) -> tp.Tuple[np.ndarray, np.ndarray]:
    """Places [candidates] of maxima near `place`, at most one sample from the lag, and their heights."""
    best = height(place)
    for step in steps:
        low, high = height(place - step), height(place + step)
        curve = low - 2 * best + high
        move = np.where(curve < 0, 0.5 * (low - high) / np.where(curve < 0, curve, 1), 0.) * step
        place = np.clip(place + np.clip(move, -step, step), -1, 1)
        best = height(place)
    return place, best


def _interpolated(correlation: np.ndarray, rows: np.ndarray, lags: np.ndarray, depth: int
                  ) -> tp.Callable[[np.ndarray], np.ndarray]:
    """A function from offsets [candidates], in samples from each (row, lag), to autocorrelations.

    The sinc reaches over `depth` samples on either side, fewer where lags end, and is tapered by a raised cosine.
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
