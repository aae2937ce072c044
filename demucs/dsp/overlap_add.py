"""Overlap-add plan of a separation: the chunks of a song that a model processes, and their weights in the sum.

A song is cut into segments that start `stride` samples apart. Each chunk has a triangular weight (which makes linear
cross-fades for an overlap of at most one half), raised to `transition_power`. Where chunks overlap, their weighted sum
is divided by the sum of the weights. Method and numbers are those of published Demucs (Défossez et al. 2019,
arXiv:1911.13254).

If a model needs a longer input than a chunk (its valid length), the chunk is extended on both sides with the samples of
the song around it, and with zeros only beyond the ends of the song.

In the shift trick (separate delayed copies, undo the delay, average), the first chunk starts `lead` samples before the
song: the signal is zero outside of [0, length), so that delaying it is equivalent to shifting the chunks.
"""

import dataclasses
import typing as tp

import numpy as np

from ..errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Interval [start, start + length) of a song, in samples. It may begin before the song (`start` < 0) or end after
    it, where the signal is zero."""
    start: int
    length: int

    @property
    def stop(self) -> int:
        """End of the interval, exclusive."""
        return self.start + self.length


def triangle(segment: int, transition_power: float = 1.) -> np.ndarray:
    """Triangular weights float64 [segment] of a chunk, raised to `transition_power`; in (0, 1], largest in the
    middle."""
    rise = np.arange(1, segment // 2 + 1)
    fall = np.arange(segment - segment // 2, 0, -1)
    weight = np.concatenate([rise, fall]).astype(np.float64)
    return (weight / weight.max()) ** transition_power


class OverlapAdd:
    """Overlap-add plan of a song of `length` samples: its `chunks` in order, and the `gain` of each sample of a chunk.
    The last chunks end with the song, and may be shorter than `segment`.

    Args:
        length: samples of the song, >= 1.
        segment: samples of a segment, >= 1.
        stride: samples from the start of one segment to the next, in [1, segment].
        transition_power: power of the triangular weight, >= 1.
        lead: number of samples by which the first segment starts before the song, >= 0.
    """

    def __init__(self, length: int, *, segment: int, stride: int, transition_power: float = 1., lead: int = 0):
        assert length >= 1 and 1 <= stride <= segment and transition_power >= 1 and lead >= 0
        self.chunks = [Chunk(start, min(segment, length - start)) for start in range(-lead, length, stride)]
        self._reach = (segment - 1) // stride        # number of chunks on each side that can overlap a chunk
        self._transition_power = transition_power
        self._weight = triangle(segment, transition_power)

    def neighbours(self, index: int) -> tp.Tuple[tp.Tuple[int, int], ...]:
        """What the gain of `chunks[index]` depends on: start, relative to it, and length of the chunks that may overlap
        it, its own among them. Equal for most chunks of a song."""
        chunk = self.chunks[index]
        return tuple((other.start - chunk.start, other.length)
                     for other in self.chunks[max(0, index - self._reach):index + self._reach + 1])

    def gain(self, index: int) -> np.ndarray:
        """Gains float32 [length of the chunk] by which the output for `chunks[index]` is multiplied. At every sample
        the gains of all chunks that overlap there add up to 1.

        Raises:
            ConfigError: for a transition power so large that the smallest weight is 0 in floating point.
        """
        chunk = self.chunks[index]
        total = np.zeros(chunk.length)
        for other in self.chunks[max(0, index - self._reach):index + self._reach + 1]:
            start, stop = max(chunk.start, other.start), min(chunk.stop, other.stop)
            if start < stop:
                total[start - chunk.start:stop - chunk.start] += self._weight[start - other.start:stop - other.start]
        if not total.min() > 0:
            raise ConfigError(f"transition_power={self._transition_power} makes the weight at the edge of a piece "
                              f"vanish; values up to 10 are sensible")
        return (self._weight[:chunk.length] / total).astype(np.float32)


def widened(chunk: Chunk, length: int) -> tp.Tuple[Chunk, int]:
    """(`chunk` extended on both sides to `length` samples, offset of `chunk` within it). `length` is at least that of
    the chunk. The interval may reach beyond the song.

    If an odd number of samples is added, the extra one is on the right.
    """
    assert length >= chunk.length
    before = (length - chunk.length) // 2
    return Chunk(chunk.start - before, length), before
