"""Statistics of the magnitude spectrograms of training mixtures, per frequency: mean and standard deviation over all
frames of whole songs, without augmentation.

Magnitudes are those of `dsp.spectral.magnitudes` (a Hann window, no normalisation, frames that are not centred), and of
several channels their mean, as in the input scaler of Open-Unmix. A song shorter than a window has no frame.
"""

import hashlib
import json
import os
import typing as tp
from dataclasses import dataclass

import numpy as np
import scipy.fft
import torch

from ..errors import DatasetError, DemucsError
from .faults import unreadable
from .segments import Chosen, Joined, SegmentDataset, Whole
from .tracks import MIXTURE, part_path

LEAST_DEVIATION = 1e-4      # smallest standard deviation of a bin, relative to the largest of all bins
BLOCK = 128                 # frames transformed at a time


@dataclass(frozen=True)
class Moments:
    """Number of frames, and per frequency their mean and sum of squared deviations from it, in float64 [F]."""
    frames: int
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def none(cls, bins: int) -> "Moments":
        """Those of no frames."""
        return cls(0, np.zeros(bins), np.zeros(bins))

    @classmethod
    def of(cls, magnitudes: np.ndarray) -> "Moments":
        """Those of magnitudes [T, F]."""
        values = magnitudes.astype(np.float64)
        mean = values.mean(axis=0)
        return cls(len(values), mean, np.square(values - mean).sum(axis=0))

    def merged(self, other: "Moments") -> "Moments":
        """Those of the frames of both (Chan, Golub and LeVeque 1983)."""
        frames = self.frames + other.frames
        if not self.frames or not other.frames:
            return self if self.frames else other
        delta = other.mean - self.mean
        return Moments(frames, self.mean + delta * (other.frames / frames),
                       self.squares + other.squares + np.square(delta) * (self.frames * other.frames / frames))

    @property
    def std(self) -> np.ndarray:
        """Standard deviation per frequency [F] over at least one frame, at least `LEAST_DEVIATION` of the largest."""
        std = np.sqrt(self.squares / self.frames)
        return np.maximum(std, LEAST_DEVIATION * std.max())


def moments(wav: np.ndarray, *, n_fft: int, hop: int) -> Moments:
    """Moments of the magnitudes of a waveform [A, L]. Computed in numpy, which is single-threaded here."""
    total = Moments.none(n_fft // 2 + 1)
    if wav.shape[-1] < n_fft:
        return total
    window = torch.hann_window(n_fft).numpy()
    frames = np.lib.stride_tricks.sliding_window_view(wav, n_fft, axis=-1)[:, ::hop]           # [A, T, n_fft]
    for start in range(0, frames.shape[1], BLOCK):
        spectrum = scipy.fft.rfft(frames[:, start:start + BLOCK] * window, axis=-1)
        total = total.merged(Moments.of(np.abs(spectrum).mean(axis=0)))
    return total


class Mixtures(tp.Protocol):
    """Whole training mixtures, for their statistics. A training set without songs, such as one that draws each source
    from a folder of its own, has them as its attribute `mixtures`."""

    def __len__(self) -> int:
        ...

    def read(self, number: int) -> np.ndarray:
        """Samples [A, L] of a mixture, as a training has them. Raises DemucsError or OSError if it cannot be read."""
        ...

    def name(self, number: int) -> str:
        """Name of a mixture, for messages."""
        ...

    def key(self) -> tp.Any:
        """Plain values that change if a mixture changes: paths, sizes and times of files, and how they are
        converted."""
        ...


class WholeSongs:
    """The mixtures of the songs of a training set."""

    def __init__(self, dataset: SegmentDataset):
        self.dataset = SegmentDataset(dataset.index, sources=[MIXTURE], policy=Whole(), samplerate=dataset.samplerate,
                                      channels=dataset.channels, normalize=dataset.normalize)

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, number: int) -> np.ndarray:
        return self.dataset[number][0].numpy()

    def name(self, number: int) -> str:
        return f"track {self.dataset.names[number]}"

    def key(self) -> tp.Any:
        songs = []
        for name, meta in self.dataset.index.tracks.items():
            track = self.dataset.index.files[name]
            stems = [MIXTURE] if track.mixture else track.mixed
            paths = [part_path(part) for stem in stems for part in track.files(stem)]
            level = [meta.mean, meta.std] if self.dataset.normalize else []
            songs.append([name, level, *([os.path.realpath(path), path.stat().st_size, path.stat().st_mtime_ns]
                                         for path in paths)])
        return [songs, self.dataset.samplerate, self.dataset.channels]


def mixtures(dataset: tp.Any) -> tp.List[Mixtures]:
    """The mixtures of a training set, each once, whatever the share of its part in the examples."""
    if hasattr(dataset, "mixtures"):
        return [dataset.mixtures]
    if isinstance(dataset, SegmentDataset):
        return [WholeSongs(dataset)]
    if isinstance(dataset, Chosen):
        return mixtures(dataset.dataset)
    assert isinstance(dataset, Joined), type(dataset)
    parts = {id(part): part for part in dataset.datasets}
    return [found for part in parts.values() for found in mixtures(part)]


def key(parts: tp.Sequence[Mixtures], *, n_fft: int, hop: int) -> str:
    """Name of the statistics of these mixtures in a cache. Raises DatasetError if a file is missing."""
    try:
        text = json.dumps([[part.key() for part in parts], n_fft, hop])
    except OSError as error:
        raise DatasetError(unreadable(error.filename, error)) from error
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:16]


def moments_of(part: Mixtures, number: int, *, n_fft: int, hop: int) -> Moments:
    """Moments of one mixture. Raises DatasetError, naming it, if it cannot be read or is not finite."""
    try:
        found = moments(part.read(number), n_fft=n_fft, hop=hop)
    except OSError as error:
        raise DatasetError(f"{part.name(number)}: {unreadable(error.filename or '', error)}") from error
    except DemucsError as error:
        raise DatasetError(f"{part.name(number)}: {error}") from error
    if not np.isfinite(found.squares).all():
        raise DatasetError(f"{part.name(number)}: has samples that are not finite numbers (NaN or infinity); render "
                           f"the file again")
    return found
