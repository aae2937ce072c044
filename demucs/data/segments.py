"""Training examples: fixed-length segments of the tracks of an index.

Number, place and order of the steps are those of published Demucs's wav dataset: examples start every `shift` seconds
while they fit, plus one that reaches over the end and is padded; each is read, converted to the wanted channels and
rate, normalised by the level of its whole mixture, then padded with zeros.
"""

import itertools
import math
import typing as tp
from bisect import bisect_right

import torch
from torch.nn import functional as F
from torch.utils.data import ConcatDataset, Dataset, Subset

from ..dsp.convert import convert_channels, resample
from .index import TrackIndex


class SegmentDataset(Dataset):
    """`dataset[i]` is [S, A, L]: float32, S in the order of `sources`, L = int(segment * samplerate), or the whole
    track where `segment` is None."""

    def __init__(self, index: TrackIndex, *, sources: tp.Sequence[str], segment: tp.Optional[float] = None,
                 shift: tp.Optional[float] = None, samplerate: int, channels: int, normalize: bool = True):
        """`sources` may contain "mixture". `segment`, `shift` in seconds; `shift` None means `segment`."""
        self.index = index
        self.sources = list(sources)
        self.segment = segment
        self.shift = shift or segment
        self.samplerate = samplerate
        self.channels = channels
        self.normalize = normalize
        self.names = list(index.tracks)
        self.ends = list(itertools.accumulate(self._examples(name) for name in self.names))

    def _examples(self, name: str) -> int:
        seconds = self.index.tracks[name].seconds
        if self.segment is None or seconds < self.segment:
            return 1
        return math.ceil((seconds - self.segment) / self.shift) + 1

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def locate(self, index: int) -> tp.Tuple[str, int]:
        """(track name, number of the segment within the track) of example `index`. Raises IndexError beyond the end."""
        if not 0 <= index < len(self):
            raise IndexError(f"example {index} of {len(self)}")
        place = bisect_right(self.ends, index)
        return self.names[place], index - (self.ends[place - 1] if place else 0)

    def __getitem__(self, index: int) -> torch.Tensor:
        name, number = self.locate(index)
        meta = self.index.tracks[name]
        start, frames = 0, None
        if self.segment is not None:
            start = int(meta.samplerate * self.shift * number)
            frames = math.ceil(meta.samplerate * self.segment)
        wavs = [convert_channels(self.index.read(name, source, start, frames), self.channels)
                for source in self.sources]
        example = resample(torch.stack(wavs), meta.samplerate, self.samplerate)
        if self.normalize:
            example = (example - meta.mean).div_(meta.std)
        if self.segment is not None:
            length = int(self.segment * self.samplerate)
            example = F.pad(example[..., :length], (0, max(length - example.shape[-1], 0)))
        return example


def describe(dataset: tp.Any, index: int) -> str:
    """Where example `index` of a (nested) dataset comes from, in words for a message: track, and seconds into it."""
    if isinstance(dataset, Subset):
        return describe(dataset.dataset, dataset.indices[index])
    if isinstance(dataset, ConcatDataset):
        part = bisect_right(dataset.cumulative_sizes, index)
        return describe(dataset.datasets[part], index - (dataset.cumulative_sizes[part - 1] if part else 0))
    if isinstance(dataset, SegmentDataset):
        name, number = dataset.locate(index)
        return f"{name} at {number * (dataset.shift or 0):.1f} s"
    return describe(dataset.dataset, index) if hasattr(dataset, "dataset") else f"example {index}"


def count_tracks(dataset: tp.Any) -> int:
    """Number of tracks in a (nested) dataset."""
    if isinstance(dataset, ConcatDataset):
        return sum(map(count_tracks, dataset.datasets))
    return len(dataset.names) if isinstance(dataset, SegmentDataset) else count_tracks(dataset.dataset)
