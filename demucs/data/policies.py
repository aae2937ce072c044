"""Policies: which segments of which tracks are examples. Their random draws are functions of a seed and of the key of the
example."""

import math
import typing as tp
from dataclasses import dataclass

import numpy as np

from ..dsp.randomness import generator
from .index import TrackMeta
from .sampler import ExampleKey

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

    def draw(self, tracks: tp.Sequence[TrackMeta], source: int, key: ExampleKey, track: int
             ) -> tp.Optional[tp.Tuple[int, Place]]:
        """(index of the track, place in it) of the source with this index in an example of the track with the index
        `track` that mixes sources of different tracks; None if all sources are those of the track of the example."""
        ...


class _OneTrack:
    def draw(self, tracks: tp.Sequence[TrackMeta], source: int, key: ExampleKey, track: int
             ) -> tp.Optional[tp.Tuple[int, Place]]:
        return None


@dataclass(frozen=True)
class Whole(_OneTrack):
    """Policy with each whole track as `per_track` examples."""
    segment: None = None
    per_track: int = 1

    def examples(self, meta: TrackMeta) -> int:
        return self.per_track

    def place(self, meta: TrackMeta, number: int, key: ExampleKey) -> Place:
        return 0, None

    def describe(self, number: int) -> str:
        return " at 0.0 s"


@dataclass(frozen=True)
class Grid(_OneTrack):
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


def random_place(meta: TrackMeta, segment: tp.Optional[float], draw: np.random.Generator) -> Place:
    """(first sample, number of samples) of `segment` seconds at a uniform position in a track; (0, None), all of it,
    without `segment`. A shorter track is read from its begin."""
    if segment is None:
        return 0, None
    frames = math.ceil(meta.samplerate * segment)
    return int(draw.integers(max(0, meta.length - frames) + 1)), frames


@dataclass(frozen=True)
class Random(Grid):
    """Policy with segments at random positions in their tracks, as many as in the grid. The position is a function of
    `seed` and of epoch, step and position in the key."""
    seed: int

    def place(self, meta: TrackMeta, number: int, key: ExampleKey) -> Place:
        return random_place(meta, self.segment, generator(self.seed, "segment", key.epoch, key.step, key.position))

    def describe(self, number: int) -> str:
        return ""


@dataclass(frozen=True)
class Balanced(Random):
    """Segments at random positions in their tracks, the same number of each track, whatever its length."""
    per_track: int = 64

    def examples(self, meta: TrackMeta) -> int:
        return self.per_track


@dataclass(frozen=True)
class RandomMix(Balanced):
    """Mixes of sources from different tracks: each source is a segment at a random position in a track of its own, drawn
    uniformly. `per_track` examples per track of the dataset. The source with the index `own` is always from the track of
    the example; None: none is. Without `segment`, whole tracks are mixed."""
    own: tp.Optional[int] = None

    def draw(self, tracks: tp.Sequence[TrackMeta], source: int, key: ExampleKey, track: int
             ) -> tp.Optional[tp.Tuple[int, Place]]:
        draw = generator(self.seed, "mix", key.epoch, key.step, key.position, source)
        chosen = int(draw.integers(len(tracks)))
        if source == self.own:
            chosen = track
        return chosen, random_place(tracks[chosen], self.segment, draw)


@dataclass(frozen=True)
class InterfererMix(RandomMix):
    """Mixes of two tracks: the source `own` is a segment at a random position in the track of the example, and all others
    are one segment at a random position in one track, which is drawn uniformly."""
    own: tp.Optional[int] = 0

    def draw(self, tracks: tp.Sequence[TrackMeta], source: int, key: ExampleKey, track: int
             ) -> tp.Optional[tp.Tuple[int, Place]]:
        if source == self.own:
            return super().draw(tracks, source, key, track)
        draw = generator(self.seed, "interferers", key.epoch, key.step, key.position)
        chosen = int(draw.integers(len(tracks)))
        return chosen, random_place(tracks[chosen], self.segment, draw)
