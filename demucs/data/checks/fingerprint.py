"""Fingerprints of songs: the same for copies of another level, format, sample rate, number of channels or beginning.

A landmark is a pair of peaks of the spectrogram: two frequencies and the time between them (Wang, "An
industrial-strength audio search algorithm", ISMIR 2003). Of all landmarks of a song, a fingerprint keeps those with the
smallest hashes (bottom-k sampling, Broder 1997): two copies keep the same ones, and the size does not grow with the
song.
"""

import typing as tp

import numpy as np
import scipy.fft
from scipy.ndimage import maximum_filter

SECONDS = 4096 / 44100         # window of the spectrogram, at any sample rate; a frame starts every quarter of it
LOW, OCTAVES, PER_OCTAVE = 400., 3.5, 24        # bands: lowest frequency in Hz, their range, number per octave
AROUND = (9, 9)                # frames and bands among which a peak is the largest
DYNAMICS = 4.                  # powers of 10 below the largest peak around, in which peaks count
PARTNERS, FARTHEST = 4, 63     # pairs that start at a peak, and their largest distance in frames
INTERVAL = 31                  # largest difference of the two frequencies in bands
SIZE = 512                     # hashes of a fingerprint
OCCURRENCES = 3                # of the same hash that are kept, the first ones
CHUNK = 4096                   # frames in which peaks are sought at a time: 95 s


class Fingerprint(tp.NamedTuple):
    """Landmarks of a song: hashes (uint32, sorted) and times (int32, in units of a quarter of `SECONDS`)."""
    hashes: np.ndarray
    times: np.ndarray


def empty() -> Fingerprint:
    return Fingerprint(np.empty(0, np.uint32), np.empty(0, np.int32))


class Fingerprinter:
    """Fingerprint of a song that is given block by block."""

    def __init__(self, samplerate: int):
        self._window = max(16, round(SECONDS * samplerate))
        self._hop = self._window // 4
        self._step = self._hop / samplerate / (SECONDS / 4)         # units of time per frame, nearly 1
        bins = samplerate / self._window
        edges = LOW * 2 ** (np.arange(int(OCTAVES * PER_OCTAVE) + 1) / PER_OCTAVE) / bins
        edges = np.unique(np.ceil(edges).astype(int))
        self._edges = edges[edges <= self._window // 2]
        self._taper = np.hanning(self._window + 1)[:-1].astype(np.float32)
        self._rest = np.empty(0, np.float32)
        self._rows: tp.List[np.ndarray] = []
        self._frames = self._kept = 0
        self._found = empty()

    def add(self, wav: np.ndarray) -> None:
        """Add a block [A, L]."""
        if len(self._edges) < 3:
            return                    # a rate so low that no band is left
        mono = wav.mean(axis=0) if len(wav) > 2 else wav[0] + wav[-1]
        mono = np.concatenate([self._rest, mono])
        count = (len(mono) - self._window) // self._hop + 1
        if count <= 0:
            self._rest = mono
            return
        frames = np.lib.stride_tricks.sliding_window_view(mono, self._window)[::self._hop][:count]
        spectrum = scipy.fft.rfft(frames * self._taper)[:, :self._edges[-1]]
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        self._rows.append(np.add.reduceat(power, self._edges[:-1], axis=1))
        self._kept += count
        self._rest = mono[count * self._hop:].copy()
        if self._kept >= CHUNK:
            self._flush()

    def result(self) -> Fingerprint:
        self._flush()
        return self._found

    def _flush(self) -> None:
        if not self._kept:
            return
        hashes, times = landmarks(np.concatenate(self._rows))
        times = np.rint((times + self._frames) * self._step).astype(np.int32)
        self._frames, self._kept, self._rows = self._frames + self._kept, 0, []
        self._found = smallest(np.concatenate([self._found.hashes, hashes]), np.concatenate([self._found.times, times]))


def landmarks(power: np.ndarray) -> tp.Tuple[np.ndarray, np.ndarray]:
    """(hashes uint32, frames of the first peak) of all landmarks in a spectrogram [frames, bands]."""
    top = maximum_filter(power, size=AROUND, mode="constant")
    loud = maximum_filter(top.max(axis=1), size=4 * AROUND[0], mode="nearest")
    times, bands = np.nonzero((power == top) & (power > loud[:, None] * 10 ** -DYNAMICS) & (power > 0))
    order = np.lexsort((bands, times))
    times, bands = times[order].astype(np.int64), bands[order].astype(np.int64)
    hashes, starts = [], []
    partners = np.zeros(len(times), int)
    for ahead in range(1, 8 * PARTNERS):
        first, second = slice(0, max(len(times) - ahead, 0)), slice(ahead, None)
        distance, interval = times[second] - times[first], bands[second] - bands[first]
        good = (distance > 0) & (distance <= FARTHEST) & (np.abs(interval) <= INTERVAL) & (partners[first] < PARTNERS)
        partners[first] += good
        packed = (bands[first][good] << 12) | ((interval[good] + INTERVAL) << 6) | distance[good]
        hashes.append(_mixed(packed))
        starts.append(times[first][good])
    return np.concatenate(hashes), np.concatenate(starts)


def _mixed(values: np.ndarray) -> np.ndarray:
    """Invertible hash of 32 bits (the finaliser of MurmurHash3), which spreads neighbouring landmarks."""
    mixed = values.astype(np.uint32)
    mixed ^= mixed >> np.uint32(16)
    mixed *= np.uint32(0x85EBCA6B)
    mixed ^= mixed >> np.uint32(13)
    mixed *= np.uint32(0xC2B2AE35)
    return mixed ^ (mixed >> np.uint32(16))


def smallest(hashes: np.ndarray, times: np.ndarray) -> Fingerprint:
    """Fingerprint of the `SIZE` smallest different hashes, each with its first `OCCURRENCES` times."""
    order = np.lexsort((times, hashes))
    hashes, times = hashes[order], times[order]
    new = np.r_[True, hashes[1:] != hashes[:-1]] if len(hashes) else np.empty(0, bool)
    number = np.cumsum(new)                                        # of the hash, from 1
    place = np.arange(len(hashes)) - np.flatnonzero(new)[number - 1] if len(hashes) else number
    keep = (number <= SIZE) & (place < OCCURRENCES)
    return Fingerprint(hashes[keep].astype(np.uint32), times[keep].astype(np.int32))
