"""Mixtures of sounds that do not belong together: each source of an example is a random segment of a random file of its
own, as in the layout `sourcefolder` of Open-Unmix."""

import math
import os
import typing as tp

import numpy as np
import torch

from ..dsp.randomness import generator
from .index import SILENT_STD, TrackIndex
from .policies import Grid, Place, Whole, random_place
from .sampler import ExampleKey
from .segments import Key, SegmentDataset, as_key, stacked
from .tracks import MIXTURE, part_path

FIXED_SEED = 42       # of fixed draws, so that they do not depend on the seed of the experiment


class SourceMixes(SegmentDataset):
    """Dataset of `count` mixtures: `dataset[key]` is float32 [S, A, L], with S in the order of `sources`. Each source is a
    segment at a uniform position of a track that is drawn uniformly among those that have this source. A track that is
    shorter than the segment is followed by silence.

    The draws of different sources are independent. They are functions of the seed and of epoch, step and position in the
    key; with the seed None, of the index of the example only, so that they are the same in every epoch and training.

    `sources` may start with "mixture", the sum of the others. With `normalize`, all of an example are normalised by mean
    and standard deviation of its mono mixture. L is int(segment * samplerate); without `segment`, tracks are read as a
    whole, and L is the length of the longest.
    """

    def __init__(self, index: TrackIndex, *, sources: tp.Sequence[str], count: int, segment: tp.Optional[float],
                 seed: tp.Optional[int], samplerate: int, channels: int, normalize: bool = True):
        super().__init__(index, sources=sources, policy=Grid(segment, segment) if segment else Whole(), samplerate=samplerate,
                         channels=channels, normalize=False)
        self.count = count
        self.seed = seed
        self.by_its_mixture = normalize
        self.mixed = [source for source in self.sources if source != MIXTURE]
        self.choices = [[number for number, name in enumerate(self.names) if index.files[name].stems[source]]
                        for source in self.mixed]

    def __len__(self) -> int:
        return self.count

    def describe(self, key: Key) -> str:
        """Names of the tracks that an example mixes."""
        return " + ".join(self.names[track] for track, _ in self._drawn(as_key(key)))

    @property
    def mixtures(self) -> "Centres":
        """The mixtures for statistics of the dataset."""
        return Centres(self)

    def _example(self, key: ExampleKey, out: tp.Optional[torch.Tensor]) -> torch.Tensor:
        if not 0 <= key.index < self.count:
            raise IndexError(f"example {key.index} of {self.count}")
        return self.read(self._drawn(key))

    def read(self, drawn: tp.Sequence[tp.Tuple[int, Place]]) -> torch.Tensor:
        """The example of these tracks and places, one per source without "mixture"."""
        example = stacked([self._segment(self.names[track], [source], place)[0]
                           for source, (track, place) in zip(self.mixed, drawn)])
        mixture = example.sum(dim=0, keepdim=True)
        if len(self.mixed) < len(self.sources):
            example = torch.cat([mixture, example])
        if self.by_its_mixture:
            mono = mixture.mean(dim=1)
            std = float(mono.std()) if mono.numel() > 1 else 0.
            example = (example - mono.mean()).div_(std if std >= SILENT_STD else 1.)
        return example

    def _drawn(self, key: ExampleKey) -> tp.List[tp.Tuple[int, Place]]:
        found = []
        for source, tracks in enumerate(self.choices):
            if self.seed is None:
                draw = generator(FIXED_SEED, "fixed source mix", key.index, source)
            else:
                draw = generator(self.seed, "source mix", key.epoch, key.step, key.position, source)
            track = tracks[int(draw.integers(len(tracks)))]
            found.append((track, random_place(self.metas[track], self.policy.segment, draw)))
        return found


class Centres:
    """Mixtures of a `SourceMixes` for statistics: as many as it has, of the central segments of its tracks. Each source is
    of a track that is drawn uniformly; the draws depend on the number of the mixture only."""

    def __init__(self, dataset: SourceMixes):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def _tracks(self, number: int) -> tp.List[int]:
        draws = (generator(FIXED_SEED, "statistics of source mixes", number, source) for source in range(len(self.dataset.mixed)))
        return [tracks[int(draw.integers(len(tracks)))] for tracks, draw in zip(self.dataset.choices, draws)]

    def read(self, number: int) -> np.ndarray:
        """Samples [A, L] of a mixture."""
        drawn = []
        for track in self._tracks(number):
            meta, segment = self.dataset.metas[track], self.dataset.policy.segment
            frames = None if segment is None else math.ceil(meta.samplerate * segment)
            drawn.append((track, (0 if frames is None else max(meta.length - frames, 0) // 2, frames)))
        example = self.dataset.read(drawn)
        return (example[0] if MIXTURE in self.dataset.sources else example.sum(dim=0)).numpy()

    def name(self, number: int) -> str:
        """Names of the tracks of a mixture."""
        return " + ".join(self.dataset.names[track] for track in self._tracks(number))

    def key(self) -> tp.Any:
        """Plain values that change if a mixture changes."""
        files = [[name, *([os.path.realpath(path), path.stat().st_size, path.stat().st_mtime_ns]
                          for parts in track.stems.values() for path in map(part_path, parts))]
                 for name, track in sorted(self.dataset.index.files.items())]
        return [files, self.dataset.mixed, len(self), self.dataset.policy.segment, self.dataset.by_its_mixture,
                self.dataset.samplerate, self.dataset.channels]
