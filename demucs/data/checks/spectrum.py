"""Long-term spectrum of a file, and the cut-off frequency that lossy codecs and resampling leave in it.

Encoders remove all content above a frequency that depends on the bit rate (mp3 and AAC at 128 kbit/s: 16 to 17 kHz).
The levels of a spectrum that is averaged in dB over time fall there by tens of dB within a few hundred Hz, and stay at
the noise floor up to the Nyquist frequency. Instruments and microphones roll off gradually. A synthesiser may end as
abruptly, with the highest partial of its tones: below that are single lines, where encoders leave parts of a
continuous spectrum. So the flatness of the spectrum below a cut-off decides (ratio of arithmetic and geometric mean,
Johnston 1988).
"""

import math
import typing as tp

import numpy as np
import scipy.fft

WINDOW = 4096                  # samples
BAND = 16                      # bins
FLOOR = 1e-16                  # power that stands for silence in levels, -160 dB
AUDIBLE = 1e-7                 # mean square of a frame that counts, and 30 dB below the average of those before
WITHIN = 500.                  # Hz, in which the level falls
BELOW = 700.                   # Hz below the cut-off whose median level is compared
DROP = 25.                     # dB
LINES = 7.5                    # dB between the means of a band: 2.5 for noise, up to 6 after encoders, above 9 for lines
LOWEST, HIGHEST = 7000., 20500.      # Hz: a cut-off elsewhere is of another kind, or no loss
NEAR_NYQUIST = 0.93            # of the Nyquist frequency: filters of resampling without loss begin above
FEWEST = 16                    # frames of a spectrum
THOROUGH, EVERY = 320, 4       # after so many frames (30 s), every 4th is used, which is enough for the average; and of
                               # those used, every 4th for the flatness


class SpectrumMeter:
    """Average over time of the spectrum in dB, in bands of `BAND` bins. Frames of a stereo file are taken from the left
    and the right channel alternately. Silent frames are left out."""

    def __init__(self, samplerate: int):
        self.width = BAND * samplerate / WINDOW          # of a band in Hz
        self._window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
        self._scale = 2 / float(np.square(self._window).sum()) / WINDOW
        self._total = np.zeros(WINDOW // 2 // BAND)
        self._unevenness = np.zeros(WINDOW // 2 // BAND)
        self._count, self._sampled, self._power = 0, 0, 0.

    def add(self, wav: np.ndarray) -> None:
        """Add a block [A, L]; what is left after whole frames is not used."""
        count = wav.shape[1] // WINDOW
        if not count:
            return
        places = np.arange(0, count, 1 if self._count < THOROUGH else EVERY)
        frames = wav[:, :count * WINDOW].reshape(len(wav), count, WINDOW)[np.arange(len(places)) % len(wav), places]
        power = np.einsum("fs,fs->f", frames, frames) / WINDOW
        self._power = max(self._power, float(power.mean()))
        frames = frames[power > max(AUDIBLE, 1e-3 * self._power)]
        if not len(frames):
            return
        spectrum = scipy.fft.rfft(frames * self._window)[:, :WINDOW // 2]
        pairs = np.ascontiguousarray(spectrum).view(np.float32).reshape(-1, 2 * BAND)
        bands = np.einsum("bi,bi->b", pairs, pairs).reshape(len(frames), -1) * np.float32(self._scale / BAND)
        logarithms = np.log10(bands + np.float32(FLOOR))
        self._total += logarithms.sum(axis=0, dtype=np.float64)
        self._count += len(frames)
        some = spectrum[::EVERY]
        power = (np.square(some.real) + np.square(some.imag)) * np.float32(self._scale) + np.float32(FLOOR)
        means = np.log10(power).reshape(-1, BAND) @ np.full(BAND, 1 / BAND, np.float32)
        self._unevenness += (logarithms[::EVERY] - means.reshape(len(some), -1)).sum(axis=0, dtype=np.float64)
        self._sampled += len(some)

    @property
    def levels(self) -> np.ndarray:
        """Level of each band in dB; empty if there were too few frames."""
        return 10 * self._total / self._count if self._count >= FEWEST else np.empty(0)

    @property
    def flatness(self) -> np.ndarray:
        """Ratio of the arithmetic and the geometric mean of the power in each band in dB, averaged over some of the
        frames; empty if there were too few frames."""
        return 10 * self._unevenness / self._sampled if self._count >= FEWEST else np.empty(0)

    def cutoff(self) -> tp.Optional[tp.Tuple[float, float]]:
        """(frequency in Hz, drop in dB) of the cut-off; None if there is none."""
        return cutoff(self.levels, self.flatness, self.width)


def cutoff(levels: np.ndarray, flatness: np.ndarray, width: float) -> tp.Optional[tp.Tuple[float, float]]:
    """(frequency in Hz, drop in dB) at which the spectrum `levels` in dB, in bands of `width` Hz, falls by at least
    `DROP` within `WITHIN`, and stays below up to the Nyquist frequency. None if it does not, or if `flatness` in dB
    shows lines below."""
    gap, before = max(1, math.ceil(WITHIN / width)), max(2, round(BELOW / width))
    highest = min(HIGHEST, NEAR_NYQUIST * width * len(levels))
    bands = np.arange(max(before, math.ceil(LOWEST / width)), min(len(levels) - gap, math.floor(highest / width) + 1))
    if not len(bands):
        return None
    below = np.median(np.lib.stride_tricks.sliding_window_view(levels, before)[bands - before], axis=1)
    above = np.maximum.accumulate(levels[::-1])[::-1][bands + gap]
    best = int((below - above).argmax())
    drop = float(below[best] - above[best])
    if drop < DROP or float(np.mean(flatness[bands[best] - before:bands[best]])) > LINES:
        return None
    return float(bands[best] * width), drop
