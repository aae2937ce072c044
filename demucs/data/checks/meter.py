"""Measurements of one audio file, accumulated block by block: level, clipping, silence, DC offset, channels, spectrum.

A clipped sample belongs to a run of at least `RUN` equal samples at the positive or negative peak of its channel that
begins or ends with a jump. So files whose level was changed after clipping are found as well, while the rounded crest
of a quiet low note, where samples are equal too, is not clipping.

A DC offset is the same throughout a file. Low notes and distorted ones have a mean as well, but another one in every
block, and of either sign.
"""

import math
import typing as tp

import numpy as np

from .spectrum import SpectrumMeter

RUN = 3                  # equal samples
JUMP = 8 / 2 ** 15       # beside them: a parabola rounded to 16 bits falls by at most 4 steps there
FRAME = 1024             # samples of a frame whose level decides on silence
SILENT = 1e-7            # mean square of a silent frame: -70 dBFS
LARGEST = 1e6            # larger samples are no audio: their squares exceed float32
BARE = 1e-30             # mean square that stands for digital silence in levels


def decibels(power: float) -> float:
    """Power in dB, at least -300."""
    return 10 * math.log10(max(power, BARE))


def clipped_runs(wav: np.ndarray, level: float) -> int:
    """Number of runs of at least `RUN` samples of `wav` [L] that equal its maximum `level`, with a jump beside them."""
    places = np.flatnonzero(wav == level)
    if len(places) < RUN:
        return 0
    ends = np.flatnonzero(np.diff(places) > 1)
    first, last = places[np.r_[0, ends + 1]], places[np.r_[ends, len(places) - 1]]
    long = last - first >= RUN - 1
    first, last = first[long], last[long]
    before = np.where(first > 0, level - wav[np.maximum(first - 1, 0)], 0.)
    after = np.where(last < len(wav) - 1, level - wav[np.minimum(last + 1, len(wav) - 1)], 0.)
    return int((np.maximum(before, after) >= JUMP).sum())


class _Crest:
    """Runs at the maximum of one channel, over all blocks."""

    def __init__(self) -> None:
        self.level, self.runs = -math.inf, 0

    def add(self, wav: np.ndarray) -> None:
        peak = float(wav.max())
        if peak > self.level:
            self.level, self.runs = peak, 0
        if peak == self.level and peak > 0:
            self.runs += clipped_runs(wav, peak)


class FileMeter:
    """Measurements of a file with `channels` channels at `samplerate` Hz. After all blocks were added, the attributes
    have the results.

    Attributes:
        frames: number of samples per channel.
        nonfinite: number of samples that are NaN, infinite or larger than `LARGEST`.
        first_nonfinite: index of the first of them.
        levels: mean square of each block.
    """

    def __init__(self, channels: int, samplerate: int):
        self.samplerate = samplerate
        self.frames, self.nonfinite, self.first_nonfinite = 0, 0, 0
        self.levels: tp.List[float] = []
        self.spectrum = SpectrumMeter(samplerate)
        self._sums, self._energies = np.zeros(channels), np.zeros(channels)
        self._products = np.zeros(channels)               # of sum and mean of each block
        self._crests = [(_Crest(), _Crest()) for _ in range(channels)]
        self._mid, self._side = 0., 0.
        self._silent, self._counted = 0, 0

    def add(self, wav: np.ndarray) -> np.ndarray:
        """Add a block [A, L]. Returns it with zeros for samples that are not finite."""
        length = wav.shape[1]
        if not length:
            return wav
        with np.errstate(over="ignore", invalid="ignore"):         # samples that are not finite
            energies = np.array([np.dot(row, row) for row in wav], np.float64)
        if not np.isfinite(energies).all():
            wav, energies = self._cleaned(wav)
        self._energies += energies
        sums = wav.sum(axis=1, dtype=np.float32).astype(np.float64)
        self._sums += sums
        self._products += np.square(sums) / length
        for row, (high, low) in zip(wav, self._crests):
            high.add(row)
            if -row.min() >= low.level:       # negated only where it matters
                low.add(-row)
        if len(wav) == 2:
            self._add_stereo(wav, energies)
        self.levels.append(float(energies.sum()) / wav.size)
        self._add_frames(wav)
        self.spectrum.add(wav)
        self.frames += length
        return wav

    def _cleaned(self, wav: np.ndarray) -> tp.Tuple[np.ndarray, np.ndarray]:
        bad = ~(np.abs(wav) <= LARGEST)
        if not self.nonfinite and bad.any():
            self.first_nonfinite = self.frames + int(bad.any(axis=0).argmax())
        self.nonfinite += int(bad.sum())
        wav = np.where(bad, np.float32(0), wav)
        return wav, np.square(wav, dtype=np.float64).sum(axis=1)

    def _add_stereo(self, wav: np.ndarray, energies: np.ndarray) -> None:
        """Energies of sum and difference of the channels, without cancellation where one of them is small."""
        total, product = float(energies.sum()), 2 * float(np.dot(wav[0], wav[1]))
        mid, side = total + product, total - product
        if abs(product) > 0.9 * total:
            small = wav[0] - wav[1] if product > 0 else wav[0] + wav[1]
            mid, side = (mid, float(np.dot(small, small))) if product > 0 else (float(np.dot(small, small)), side)
        self._mid += mid
        self._side += side

    def _add_frames(self, wav: np.ndarray) -> None:
        """Count silent frames. A shorter one at the end of the block counts as a frame."""
        whole = wav.shape[1] // FRAME * FRAME
        frames = wav[:, :whole].reshape(len(wav), -1, FRAME)
        power = np.einsum("cfs,cfs->f", frames, frames) / (FRAME * len(wav))
        self._silent += int((power < SILENT).sum())
        self._counted += len(power)
        if whole < wav.shape[1]:
            rest = wav[:, whole:]
            self._silent += bool(float(np.square(rest, dtype=np.float64).mean()) < SILENT)
            self._counted += 1

    @property
    def peak(self) -> float:
        """Largest absolute sample; 0 for an empty file."""
        return max([max(high.level, low.level) for high, low in self._crests] + [0.])

    @property
    def clipped(self) -> int:
        """Largest number of clipped runs at one peak of one channel."""
        return max([max(high.runs, low.runs) for high, low in self._crests] + [0])

    @property
    def offset(self) -> float:
        """DC offset: the mean of the channel in which its magnitude is largest."""
        return float(self._means[self._offset_channel])

    @property
    def drift(self) -> float:
        """Standard deviation of the means of all blocks of that channel; 0 if there is one block."""
        variances = self._products / max(self.frames, 1) - np.square(self._means)
        return math.sqrt(max(float(variances[self._offset_channel]), 0.))

    @property
    def _means(self) -> np.ndarray:
        return self._sums / max(self.frames, 1)

    @property
    def _offset_channel(self) -> int:
        return int(np.abs(self._means).argmax())

    @property
    def power(self) -> float:
        """Mean square."""
        return float(self._energies.sum()) / max(self.frames * len(self._energies), 1)

    @property
    def silent(self) -> float:
        """Share of silent frames; 1 for an empty file."""
        return self._silent / self._counted if self._counted else 1.

    @property
    def side(self) -> tp.Optional[float]:
        """Power of the difference of two channels relative to that of their sum in dB; None if not stereo or silent."""
        if len(self._energies) != 2 or self._mid + self._side <= 0:
            return None
        return decibels(self._side) - decibels(self._mid)

    @property
    def balance(self) -> tp.Optional[float]:
        """Power of the left channel relative to that of the right one in dB; None if not stereo, or silent."""
        if len(self._energies) != 2 or self._energies.sum() <= 0:
            return None
        return decibels(float(self._energies[0])) - decibels(float(self._energies[1]))
