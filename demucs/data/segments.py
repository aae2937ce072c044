"""Training and validation examples: segments of the tracks of an index, addressed by `ExampleKey`.

Number, position and order of the segments of a grid are those of the wav dataset of published Demucs: segments start
every `shift` seconds as long as they fit, plus one that extends beyond the end and is padded. A segment is read,
converted to the given channels and sample rate, normalised by mean and standard deviation of the whole mixture, then
padded with zeros.
"""

import itertools
import typing as tp
from bisect import bisect_right

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import Dataset

from ..dsp.convert import convert_channels, resample
from ..dsp.randomness import generator
from .index import TrackIndex, TrackMeta
from .policies import Balanced, Grid, InterfererMix, Place, Policy, Random, RandomMix, Whole    # imported from here, too
from .sampler import ExampleKey
from .targets import REST
from .tracks import MIXTURE, OTHERS, lengthened

Key = tp.Union[int, ExampleKey]
BLOCK = 2 ** 16      # samples


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
        """`sources` may contain "mixture", and as the last one "rest": all of the song but the sources before it, which is
        the sum of the track's `OTHERS` if it has these, and otherwise the mixture minus these sources."""
        self.index = index
        self.sources = list(sources)
        self.policy = policy
        self.samplerate = samplerate
        self.channels = channels
        self.normalize = normalize
        self.names = list(index.tracks)
        self.metas = list(index.tracks.values())
        self.ends = list(itertools.accumulate(policy.examples(index.tracks[name]) for name in self.names))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def locate(self, index: int) -> tp.Tuple[str, int]:
        """(track name, number of the segment within the track, from 0) of the example with this index. Raises
        IndexError beyond the end."""
        place, number = _place(self.ends, index)
        return self.names[place], number

    def describe(self, key: Key) -> str:
        """Name of the track of an example, or of those that it mixes, and the position if it is known."""
        drawn = self._drawn(as_key(key))
        if drawn:
            return " + ".join(dict.fromkeys(self.names[track] for track, _ in drawn))
        name, number = self.locate(as_key(key).index)
        return f"{name}{self.policy.describe(number)}"

    def __getitem__(self, key: Key) -> torch.Tensor:
        return self._example(as_key(key), None)

    def fill(self, out: torch.Tensor, key: Key) -> None:
        """Write the first samples of the example with this key to `out` [S, A, L], at most as long as the example."""
        example = self._example(as_key(key), out)
        if example is not out:
            out.copy_(example[..., :out.shape[-1]])

    def _example(self, key: ExampleKey, out: tp.Optional[torch.Tensor]) -> torch.Tensor:
        """The example with this key: `out`, if it could be read directly into it."""
        name, number = self.locate(key.index)
        drawn = self._drawn(key)
        if not drawn:
            return self._segment(name, self.sources, self.policy.place(self.index.tracks[name], number, key), out)
        rows = [None if out is None else out[row:row + 1] for row in range(len(self.sources))]
        wavs = [self._source(self.names[track], source, place, row) for source, (track, place), row in
                zip(self.sources, drawn, rows)]
        if out is None:
            return stacked(wavs)
        for row, wav in zip(out, wavs):
            if wav is not None:
                row.copy_(wav[:, :out.shape[-1]])
        return out

    def _drawn(self, key: ExampleKey) -> tp.List[tp.Tuple[int, Place]]:
        """(index of the track, place in it) of each source, if an example mixes tracks; else an empty list."""
        track, _ = _place(self.ends, key.index)
        return [found for found in (self.policy.draw(self.metas, source, key, track) for source in range(len(self.sources)))
                if found is not None]

    def _source(self, name: str, source: str, place: Place, out: tp.Optional[torch.Tensor] = None
                ) -> tp.Optional[torch.Tensor]:
        """One source [A, L] of a track at one place; None if its first samples could be read directly into `out`
        [1, A, L]."""
        rest = source == REST and not self._has_others(name)
        example = self._segment(name, self.sources if rest else [source], place, None if rest else out)
        return None if example is out else example[-1]

    def _has_others(self, name: str) -> bool:
        return OTHERS in self.index.files[name].stems

    def _segment(self, name: str, sources: tp.Sequence[str], place: Place, out: tp.Optional[torch.Tensor] = None
                 ) -> torch.Tensor:
        """Sources [S, A, L] of a track at one place. The result may be their first samples in `out`."""
        meta = self.index.tracks[name]
        start, frames = place
        example = self._from_integers(name, sources, place, out)
        if example is not None:
            return example
        rest = sources[-1] == REST and not self._has_others(name)
        wavs = [self._read(name, OTHERS if source == REST else source, start, frames)
                for source in (sources[:-1] if rest else sources)]
        if rest:
            wavs.append(self._read(name, MIXTURE, start, frames) - torch.stack(wavs).sum(dim=0))
        example = resample(torch.stack(wavs), meta.samplerate, self.samplerate)
        if self.normalize:
            example = (example - meta.mean).div_(meta.std)
        if self.policy.segment is not None:
            length = int(self.policy.segment * self.samplerate)
            example = F.pad(example[..., :length], (0, max(length - example.shape[-1], 0)))
        return example

    def _from_integers(self, name: str, sources: tp.Sequence[str], place: Place, out: tp.Optional[torch.Tensor]
                       ) -> tp.Optional[torch.Tensor]:
        """The same sources, bit by bit, if their files have 16-bit samples that need no conversion but that to floating
        point; None otherwise. It is several times faster, since it writes every sample once, in blocks that stay in the
        processor's cache. They are written to `out`, unless that is None."""
        meta = self.index.tracks[name]
        if meta.samplerate != self.samplerate or REST in sources:
            return None
        example = out
        for row, source in enumerate(sources):
            samples = self.index.read_int16(name, source, *place)
            if samples is None or samples.shape[1] not in (1, self.channels):
                return None
            if example is None:
                length = len(samples) if self.policy.segment is None else int(self.policy.segment * self.samplerate)
                example = torch.empty(len(sources), self.channels, length)
            self._fill(example[row], samples, meta)
        return example

    def _fill(self, wav: torch.Tensor, samples: np.ndarray, meta: TrackMeta) -> None:
        """Write 16-bit samples [L, A] as normalised ones into `wav` [A, L], and zeros after them."""
        length = min(len(samples), wav.shape[-1])
        for first in range(0, length, BLOCK):
            block = wav[:, first:min(first + BLOCK, length)]
            block.copy_(torch.from_numpy(samples[first:first + block.shape[-1]]).t()).mul_(2. ** -15)
            if self.normalize:
                block.sub_(meta.mean).div_(meta.std)
        wav[:, length:] = 0

    def _read(self, name: str, source: str, start: int, frames: tp.Optional[int]) -> torch.Tensor:
        return convert_channels(self.index.read(name, source, start, frames), self.channels)


def stacked(wavs: tp.Sequence[torch.Tensor]) -> torch.Tensor:
    """Waveforms [A, L] as one tensor [S, A, L]; shorter ones end in silence."""
    longest = max(wav.shape[-1] for wav in wavs)
    return torch.stack([lengthened(wav, longest) for wav in wavs])


class Joined(Dataset):
    """Concatenation of datasets, with the examples of each after those of the one before."""

    def __init__(self, datasets: tp.Sequence[tp.Any]):
        self.datasets = list(datasets)
        self.ends = list(itertools.accumulate(map(len, self.datasets)))

    def __len__(self) -> int:
        return self.ends[-1]

    def describe(self, key: Key) -> str:
        """Description of an example by its dataset."""
        dataset, key = self._within(key)
        return dataset.describe(key)

    def __getitem__(self, key: Key) -> torch.Tensor:
        dataset, key = self._within(key)
        return dataset[key]

    def fill(self, out: torch.Tensor, key: Key) -> None:
        """Write the first samples of an example to `out`, as `SegmentDataset.fill`."""
        dataset, key = self._within(key)
        dataset.fill(out, key)

    def _within(self, key: Key) -> tp.Tuple[tp.Any, ExampleKey]:
        """Dataset of an example, and its key there."""
        key = as_key(key)
        place, number = _place(self.ends, key.index)
        return self.datasets[place], key._replace(index=number)


class Weighted(Joined):
    """Concatenation of datasets with a given share of the examples of each, and as many examples in all as they have.

    Each dataset has a range of the indices. Over the epochs, its examples take these places in random order, and each is
    used once before any is used again.
    """

    def __init__(self, datasets: tp.Sequence[tp.Any], shares: tp.Sequence[float], seed: int):
        """`shares` are positive; their ratios count."""
        super().__init__(datasets)
        self.seed = seed
        total = sum(map(len, datasets))
        self.ends = [round(total * sum(shares[:place + 1]) / sum(shares)) for place in range(len(shares))]
        self._orders: tp.Dict[tp.Tuple[int, int], np.ndarray] = {}

    def _order(self, place: int, turn: int) -> np.ndarray:
        """Order of the examples of a dataset when it is gone through for the time `turn`."""
        if (place, turn) not in self._orders:
            if len(self._orders) > 2 * len(self.datasets):
                self._orders.clear()
            size = len(self.datasets[place])
            self._orders[place, turn] = generator(self.seed, "weighted", place, turn).permutation(size)
        return self._orders[place, turn]

    def _within(self, key: Key) -> tp.Tuple[tp.Any, ExampleKey]:
        key = as_key(key)
        place, number = _place(self.ends, key.index)
        size = self.ends[place] - (self.ends[place - 1] if place else 0)
        turn, number = divmod(key.epoch * size + number, len(self.datasets[place]))
        return self.datasets[place], key._replace(index=int(self._order(place, turn)[number]))


class Chosen(Dataset):
    """Subset of a dataset: the examples with the given indices, in their order."""

    def __init__(self, dataset: tp.Any, indices: tp.Sequence[int]):
        self.dataset = dataset
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def describe(self, key: Key) -> str:
        """Description of an example by the whole dataset."""
        return self.dataset.describe(self._within(key))

    def __getitem__(self, key: Key) -> torch.Tensor:
        return self.dataset[self._within(key)]

    def fill(self, out: torch.Tensor, key: Key) -> None:
        """Write the first samples of an example to `out`, as `SegmentDataset.fill`."""
        self.dataset.fill(out, self._within(key))

    def _within(self, key: Key) -> ExampleKey:
        key = as_key(key)
        return key._replace(index=self.indices[key.index])


def as_key(key: Key) -> ExampleKey:
    """`key` itself if it is an ExampleKey; for an index, the key of that example in epoch 0 and step 0, at the position
    of the same number."""
    return key if isinstance(key, ExampleKey) else ExampleKey(0, 0, key, key)


def count_tracks(dataset: tp.Any) -> int:
    """Number of tracks of a `SegmentDataset`, or of those within `Joined`, `Weighted` and `Chosen`. Parts are summed, so a track
    in two parts counts twice. A `Chosen` counts all tracks of its dataset."""
    if isinstance(dataset, Joined):
        return sum(map(count_tracks, dataset.datasets))
    return len(dataset.names) if isinstance(dataset, SegmentDataset) else count_tracks(dataset.dataset)


def whole_lengths(dataset: tp.Any) -> tp.Dict[int, str]:
    """Lengths in samples of the whole tracks of a `SegmentDataset`, or of those within `Joined`, `Weighted` and `Chosen`,
    with the name of one track of each length."""
    if isinstance(dataset, Joined):
        return {length: name for part in dataset.datasets for length, name in whole_lengths(part).items()}
    if not isinstance(dataset, SegmentDataset):
        return whole_lengths(dataset.dataset)
    return {meta.length * dataset.samplerate // meta.samplerate: name for name, meta in zip(dataset.names, dataset.metas)}
