"""The overlap-add plan of separation: which pieces of a song a model sees, and how its answers are joined.

A song is cut into segments that start `stride` samples apart. Each piece carries a triangular weight (which makes
linear cross-fades where the overlap is at most one half), raised to `transition_power`; where pieces overlap, their
weighted sum is divided by the sum of the weights. Method and numbers are those of published Demucs (Défossez et al.
2019, arXiv:1911.13254).

A piece that a model wants longer than it is (its valid length) is extended on both sides with the real song around it,
and with zeros only beyond the song's ends.

The shift trick (separate delayed copies, undo the delay, average) is a plan whose first piece starts `lead` samples
before the song: the signal is zero outside of [0, length), so delaying it and moving the pieces are the same thing.
"""

import dataclasses
import typing as tp

import numpy as np

from ..errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Samples [start, start + length) of the song; `start` may be negative."""
    start: int
    length: int

    @property
    def stop(self) -> int:
        return self.start + self.length


def triangle(segment: int, transition_power: float = 1.) -> np.ndarray:
    """Weight [segment] of a piece, in (0, 1], largest in the middle."""
    rise = np.arange(1, segment // 2 + 1)
    fall = np.arange(segment - segment // 2, 0, -1)
    weight = np.concatenate([rise, fall]).astype(np.float64)
    return (weight / weight.max()) ** transition_power


class OverlapAdd:
    """Pieces of a song of `length` samples, and the gain of each sample of a piece in the sum.

    Args:
        length: samples of the song, >= 1.
        segment: samples of a piece, >= 1.
        stride: samples from the start of one piece to the next, in [1, segment].
        transition_power: power of the triangular weight, >= 1.
        lead: samples before the song where the first piece starts, >= 0.
    """

    def __init__(self, length: int, *, segment: int, stride: int, transition_power: float = 1., lead: int = 0):
        assert length >= 1 and 1 <= stride <= segment and transition_power >= 1 and lead >= 0
        self.chunks = [Chunk(start, min(segment, length - start)) for start in range(-lead, length, stride)]
        self._reach = (segment - 1) // stride        # how many pieces before and after one can overlap it
        self._transition_power = transition_power
        self._weight = triangle(segment, transition_power)

    def gain(self, index: int) -> np.ndarray:
        """Factors float32 [length] of `chunks[index]`; over all pieces they add up to 1 at every sample of the song.

        Raises:
            ConfigError: for a transition power at which the smallest weight is no longer a number.
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
    """`chunk` with context on both sides up to `length` samples, and where it starts within that.

    Where the difference is odd, the extra sample is on the right.
    """
    assert length >= chunk.length
    before = (length - chunk.length) // 2
    return Chunk(chunk.start - before, length), before
