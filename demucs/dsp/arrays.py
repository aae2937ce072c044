"""Overlap-add, levels and resampling on numpy arrays, without torch, for programs that run a model without it, and for
code that must not start torch's threads."""

import functools
import math
import typing as tp

import numpy as np

from .overlap_add import OverlapAdd

CHUNK = 1 << 19          # samples read at a time
ZEROS = 24               # zero crossings of the interpolation filter on each side
ROLLOFF = 0.945          # cut-off of the filter relative to the lower Nyquist frequency


def overlap_add(pieces: tp.Iterable[np.ndarray], plan: OverlapAdd) -> np.ndarray:
    """Weighted overlap-add of a model's outputs to a song, float32 [..., L]. `pieces` are arrays [..., length of the
    chunk], one for each chunk of `plan`, in their order. Each is multiplied by its gain. Samples before the song are
    dropped.

    Raises:
        ValueError: if there are more or fewer arrays than chunks.
    """
    total: tp.Optional[np.ndarray] = None
    length = max(chunk.stop for chunk in plan.chunks)
    for index, (chunk, piece) in enumerate(zip(plan.chunks, pieces, strict=True)):
        if total is None:
            total = np.zeros((*piece.shape[:-1], length), np.float32)
        before = max(0, -chunk.start)
        total[..., chunk.start + before:chunk.stop] += (piece * plan.gain(index))[..., before:]
    assert total is not None
    return total


def level(read: tp.Callable[[int, int], np.ndarray], length: int) -> tp.Tuple[float, float]:
    """(mean, unbiased standard deviation) of the mono mixture (mean of channels), in float64, read chunk by chunk.

    `read(start, frames)` returns samples [A, up to `frames`], and none at the end of the signal. At most some 2 ** 19
    samples beyond `length` are read. The signal may be shorter than `length`, which may be an estimate; of fewer than
    two samples the standard deviation is 0.
    """
    count, mean, squares = 0, 0., 0.
    for start in range(0, length, CHUNK):
        wav = read(start, CHUNK).mean(axis=0).astype(np.float64)
        if not len(wav):
            break
        chunk_mean, total = float(wav.mean()), count + len(wav)
        delta = chunk_mean - mean
        squares += float(np.square(wav - chunk_mean).sum()) + delta ** 2 * count * len(wav) / total
        mean += delta * len(wav) / total
        count = total
    return mean, math.sqrt(squares / max(count - 1, 1))


@functools.lru_cache(maxsize=8)
def _filters(old: int, new: int) -> tp.Tuple[np.ndarray, int]:
    """(filters [new, taps], number of taps before the sample): one windowed sinc for each output sample of a period."""
    rate = min(new, old) * ROLLOFF
    width = math.ceil(ZEROS * old / rate)
    taps = np.arange(-width, width + old)
    time = (taps[None] / old - np.arange(new)[:, None] / new) * rate
    time = np.clip(time, -ZEROS, ZEROS)
    bank = np.sinc(time) * np.square(np.cos(np.pi * time / ZEROS / 2))
    return (bank / bank.sum(axis=1, keepdims=True)).astype(np.float32), width


def resample(wav: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """`wav` [..., L] resampled from `from_rate` to `to_rate` (whole numbers of Hz), as float32 [..., floor(L * to_rate
    / from_rate)]. `wav` itself is returned if the rates are equal or L is 0.

    The filters are those that `convert.resample` uses unless they get too large (J. O. Smith,
    https://ccrma.stanford.edu/~jos/resample/). They are computed in float64; julius computes them in float32, which
    makes a difference of up to 1e-4 of the amplitude.
    """
    if from_rate == to_rate or not wav.shape[-1]:
        return wav
    common = math.gcd(from_rate, to_rate)
    old, new = from_rate // common, to_rate // common
    bank, before = _filters(old, new)
    edges = [(0, 0)] * (wav.ndim - 1)
    padded = np.pad(wav.astype(np.float32, copy=False), [*edges, (before, before + old)], mode="edge")
    frames = np.lib.stride_tricks.sliding_window_view(padded, bank.shape[1], axis=-1)[..., ::old, :]
    out = (frames @ bank.T).reshape(*wav.shape[:-1], -1)
    return out[..., :wav.shape[-1] * to_rate // from_rate]
