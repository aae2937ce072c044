"""Comparison of audio files, sample by sample, in steps of 16-bit PCM."""

import typing as tp
from pathlib import Path

import numpy as np

from .samples import read_samples

SUFFIXES = (".wav", ".flac")
SCALE = 2 ** 15     # 16-bit steps in the full scale of a float


def songs(folder: Path) -> tp.Dict[str, Path]:
    """All .wav and .flac files below `folder`, a mapping of path relative to it -> path, sorted."""
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.suffix in SUFFIXES}


def compare(first: Path, second: Path) -> tp.Tuple[float, int, int]:
    """(largest difference in steps of 16-bit PCM, number of samples that differ, number of samples) of the audio files
    `first` and `second`. Samples are counted over all channels.

    Raises:
        AudioError: if a file cannot be read.
        ValueError: if sample rate, channels or length differ.
    """
    (a, rate_a), (b, rate_b) = (read_samples(path) for path in (first, second))
    if (a.shape, rate_a) != (b.shape, rate_b):
        raise ValueError(f"{a.shape} samples at {rate_a} Hz and {b.shape} at {rate_b} Hz")
    difference = np.abs(a - b) * SCALE
    return float(difference.max(initial=0)), int(np.count_nonzero(difference)), a.size
