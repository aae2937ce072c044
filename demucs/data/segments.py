"""Training and validation examples: segments of the tracks of an index, addressed by `ExampleKey`.

Number, position and order of the segments of a grid are those of the wav dataset of published Demucs: segments start
every `shift` seconds as long as they fit, plus one that extends beyond the end and is padded. A segment is read,
converted to the given channels and sample rate, normalised by mean and standard deviation of the whole mixture, then
padded with zeros.
"""

import itertools
import math
import typing as tp
from bisect import bisect_right
from dataclasses import dataclass

import torch
from torch.nn import functional as F
from torch.utils.data import Dataset

from ..dsp.convert import convert_channels, resample
from ..dsp.randomness import generator
from .index import TrackIndex, TrackMeta
from .sampler import ExampleKey
from .targets import REST
from .tracks import MIXTURE

Key = tp.Union[int, ExampleKey]
Place = tp.Tuple[int, tp.Optional[int]]


class Policy(tp.Protocol):
    """Interface of the choice of segments that are examples of a track. `segment` is their length in seconds; None for
    whole tracks."""

    @property
    def segment(self) -> tp.Optional[float]:
        """Length of an example in seconds; None for whole tracks."""
        ...

    def examples(self, meta: TrackMeta) -> int:
        """Number of examples of a track with the metadata `meta`, at least 1."""
        ...

    def place(self, meta: TrackMeta, number: int, key: ExampleKey) -> Place:
        """(first sample, number of samples or None for all), at the rate of the track, of example `number` (from 0) of
        a track with the metadata `meta`. Random positions depend on `key`."""
        ...

    def describe(self, number: int) -> str:
        """Position of example `number` in its track as text for messages, such as " at 12.0 s"; "" if `number` does not
        determine it."""
        ...


@dataclass(frozen=True)
class Whole:
    """Policy with each whole track as one example."""
    segment: None = None

    def examples(self, meta: TrackMeta) -> int:
        return 1

    def place(self, meta: TrackMeta, number: int, key: ExampleKey) -> Place:
        return 0, None

    def describe(self, number: int) -> str:
        return " at 0.0 s"


@dataclass(frozen=True)
class Grid:
    """Policy with segments of `segment` seconds, one every `shift` seconds as long as they fit, and one more that
    reaches beyond the end of the track."""
    segment: float
    shift: float

    def examples(self, meta: TrackMeta) -> int:
        return 1 if meta.seconds < self.segment else math.ceil((meta.seconds - self.segment) / self.shift) + 1

    def place(self, meta: TrackMeta, number: int, key: ExampleKey) -> Place:
        return int(meta.samplerate * self.shift * number), math.ceil(meta.samplerate * self.segment)

    def describe(self, number: int) -> str:
        return f" at {number * self.shift:.1f} s"


@dataclass(frozen=True)
class Random(Grid):
    """Policy with segments at random positions in their tracks, as many as in the grid. The position is a function of
    `seed` and of epoch, step and position in the key."""
    seed: int

    def place(self, meta: TrackMeta, number: int, key: ExampleKey) -> Place:
        frames = math.ceil(meta.samplerate * self.segment)
        draw = generator(self.seed, "segment", key.epoch, key.step, key.position)
        return int(draw.integers(max(0, meta.length - frames) + 1)), frames

    def describe(self, number: int) -> str:
        return ""


def _place(ends: tp.Sequence[int], index: int) -> tp.Tuple[int, int]:
    """(part, number within it) of example `index` of parts that end, one after the other, at `ends`. Raises IndexError
    beyond the last."""
    size = ends[-1] if ends else 0
    if not 0 <= index < size:
        raise IndexError(f"example {index} of {size}")
    part = bisect_right(ends, index)
    return part, index - (ends[part - 1] if part else 0)


class SegmentDataset(Dataset):
    """Dataset of the segments that `policy` chooses: `dataset[key]` is float32 [S, A, L], with S in the order of
    `sources` and L = int(segment * samplerate), or the length of the track if the policy has no segment. A key is an
    ExampleKey or an index."""

    def __init__(self, index: TrackIndex, *, sources: tp.Sequence[str], policy: Policy, samplerate: int, channels: int,
                 normalize: bool = True):
        """`sources` may contain "mixture", and as the last one "rest": the mixture minus the sources before it."""
        self.index = index
        self.sources = list(sources)
        self.policy = policy
        self.samplerate = samplerate
        self.channels = channels
        self.normalize = normalize
        self.names = list(index.tracks)
        self.ends = list(itertools.accumulate(policy.examples(index.tracks[name]) for name in self.names))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def locate(self, index: int) -> tp.Tuple[str, int]:
        """(track name, number of the segment within the track, from 0) of the example with this index. Raises
        IndexError beyond the end."""
        place, number = _place(self.ends, index)
        return self.names[place], number

    def describe(self, index: int) -> str:
        """Name of the track of the example with this index, and the position within it, for messages."""
        name, number = self.locate(index)
        return f"{name}{self.policy.describe(number)}"

    def __getitem__(self, key: Key) -> torch.Tensor:
        key = as_key(key)
        name, number = self.locate(key.index)
        meta = self.index.tracks[name]
        start, frames = self.policy.place(meta, number, key)
        wavs = [self._read(name, source, start, frames) for source in self.sources if source != REST]
        if self.sources[-1] == REST:
            wavs.append(self._read(name, MIXTURE, start, frames) - torch.stack(wavs).sum(dim=0))
        example = resample(torch.stack(wavs), meta.samplerate, self.samplerate)
        if self.normalize:
            example = (example - meta.mean).div_(meta.std)
        if self.policy.segment is not None:
            length = int(self.policy.segment * self.samplerate)
            example = F.pad(example[..., :length], (0, max(length - example.shape[-1], 0)))
        return example

    def _read(self, name: str, source: str, start: int, frames: tp.Optional[int]) -> torch.Tensor:
        return convert_channels(self.index.read(name, source, start, frames), self.channels)


class Joined(Dataset):
    """Concatenation of datasets, with the examples of each after those of the one before."""

    def __init__(self, datasets: tp.Sequence[tp.Any]):
        self.datasets = list(datasets)
        self.ends = list(itertools.accumulate(map(len, self.datasets)))

    def __len__(self) -> int:
        return self.ends[-1]

    def part(self, index: int) -> tp.Tuple[tp.Any, int]:
        """(dataset that the example with this index is from, its index within that dataset). Raises IndexError beyond
        the end."""
        place, number = _place(self.ends, index)
        return self.datasets[place], number

    def describe(self, index: int) -> str:
        """Description of the example with this index by its dataset."""
        dataset, index = self.part(index)
        return dataset.describe(index)

    def __getitem__(self, key: Key) -> torch.Tensor:
        key = as_key(key)
        dataset, index = self.part(key.index)
        return dataset[key._replace(index=index)]


class Chosen(Dataset):
    """Subset of a dataset: the examples with the given indices, in their order."""

    def __init__(self, dataset: tp.Any, indices: tp.Sequence[int]):
        self.dataset = dataset
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def describe(self, index: int) -> str:
        """Description of the example with this index by the whole dataset."""
        return self.dataset.describe(self.indices[index])

    def __getitem__(self, key: Key) -> torch.Tensor:
        key = as_key(key)
        return self.dataset[key._replace(index=self.indices[key.index])]


def as_key(key: Key) -> ExampleKey:
    """`key` itself if it is an ExampleKey; for an index, the key of that example in epoch 0 and step 0, at the position
    of the same number."""
    return key if isinstance(key, ExampleKey) else ExampleKey(0, 0, key, key)


def count_tracks(dataset: tp.Any) -> int:
    """Number of tracks of a `SegmentDataset`, or of those within `Joined` and `Chosen`. Parts are summed, so a track
    in two parts counts twice. A `Chosen` counts all tracks of its dataset."""
    if isinstance(dataset, Joined):
        return sum(map(count_tracks, dataset.datasets))
    return len(dataset.names) if isinstance(dataset, SegmentDataset) else count_tracks(dataset.dataset)
