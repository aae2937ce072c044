"""Resampling of a signal that is given in blocks, so that its length does not matter for memory.

Each block is resampled together with as many samples around it as the filter is long, so that the result is that of
`convert.resample` for the whole signal, up to rounding.
"""

import typing as tp

import numpy as np
import soxr
import torch

from . import convert


def resampled_length(length: int, from_rate: int, to_rate: int) -> int:
    """Number of samples of `convert.resample` for a signal of `length` samples."""
    if from_rate == to_rate or not length:
        return length
    if convert._bank_size(from_rate, to_rate) > convert.LARGEST_BANK:
        return length * to_rate // from_rate
    bank = convert._resampler(from_rate, to_rate)
    # In float32, as julius rounds it, but for no more samples than its filter computes.
    return min(int(torch.as_tensor(bank.new_sr * length / bank.old_sr)), (length // bank.old_sr + 1) * bank.new_sr)


class BlockResampler:
    """Resampling of a signal [A, L] from `from_rate` to `to_rate` (Hz), block by block: `push` for each, then `finish`,
    which return consecutive parts [A, n] of the result; n may be 0."""

    def __init__(self, from_rate: int, to_rate: int):
        self.from_rate, self.to_rate = from_rate, to_rate
        self._taken = self._given = 0        # samples of the signal, and of the result
        self._rate_free: tp.Optional[soxr.ResampleStream] = None
        self._banked = from_rate != to_rate and convert._bank_size(from_rate, to_rate) <= convert.LARGEST_BANK
        if self._banked:
            bank = convert._resampler(from_rate, to_rate)
            self._old, self._new = bank.old_sr, bank.new_sr
            half = bank.kernel.shape[-1]     # at least the half of its filter
            self._context = -(-half // self._old) * self._old
        self._start = self._end = 0          # of the kept samples, and of those that are resampled
        self._kept: tp.Optional[torch.Tensor] = None

    def push(self, block: torch.Tensor) -> torch.Tensor:
        """The next part of the result, after `block` [A, n] of the signal."""
        self._taken += block.shape[-1]
        if self.from_rate == self.to_rate:
            return block
        if not self._banked:
            return self._soxr(block, last=False)
        self._kept = block if self._kept is None else torch.cat([self._kept, block], dim=-1)
        return self._resampled(max(self._end, (self._taken - self._context) // self._old * self._old))

    def finish(self) -> torch.Tensor:
        """The last part of the result. Raises ValueError without any block."""
        if self._kept is None and (self._banked or self._rate_free is None):
            if self.from_rate != self.to_rate:
                raise ValueError("there is no block to resample")
            return torch.empty(0, 0)
        if not self._banked:
            return self._soxr(torch.empty(self._channels, 0), last=True)
        assert self._kept is not None
        total = resampled_length(self._taken, self.from_rate, self.to_rate)
        more = 2 * self._context             # samples after the end equal the last one, as for the whole signal
        self._kept = torch.cat([self._kept, self._kept[..., -1:].expand(-1, more)], dim=-1)
        rest = self._resampled((self._taken // self._old + 1) * self._old)
        return rest[..., :total - self._given + rest.shape[-1]]

    def _resampled(self, end: int) -> torch.Tensor:
        """The result for the samples up to `end`, a multiple of the period; samples no longer needed are dropped."""
        assert self._kept is not None
        first, last = ((place - self._start) // self._old * self._new for place in (self._end, end))
        if last <= first:
            return self._kept[..., :0]
        bank = convert._resampler(self.from_rate, self.to_rate)
        result = bank(self._kept, full=True)[..., first:last]
        start = max(0, end - self._context)
        self._kept = self._kept[..., start - self._start:].clone()
        self._start, self._end = start, end
        self._given += result.shape[-1]
        return result

    def _soxr(self, block: torch.Tensor, *, last: bool) -> torch.Tensor:
        """As `push`, by libsoxr; with `last` cut, or continued with zeros, to the length of the whole result."""
        if self._rate_free is None:
            self._channels = len(block)
            self._rate_free = soxr.ResampleStream(self.from_rate, self.to_rate, self._channels, dtype="float32",
                                                  quality="VHQ")
        samples = self._rate_free.resample_chunk(np.ascontiguousarray(block.T.numpy(), np.float32), last=last)
        result = torch.from_numpy(np.ascontiguousarray(samples.reshape(-1, self._channels).T))
        if last:
            missing = resampled_length(self._taken, self.from_rate, self.to_rate) - self._given
            result = torch.nn.functional.pad(result, (0, max(0, missing - result.shape[-1])))[..., :max(0, missing)]
        self._given += result.shape[-1]
        return result
