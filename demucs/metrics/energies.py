"""nSDR and SI-SDR of whole tracks and SDR of frames, for sources and sums of sources together.

All of them follow from inner products of the reference r, the estimate e and the error d = r - e. For a sum of sources
they are sums of the inner products of its parts. So one pass over a track suffices for its sources and any sums of
them: a small matrix of inner products per frame. The computation is in float64 without a float64 copy of the track, and
since the error signal is computed first, the error of an exact copy is exactly zero.

    nSDR    10 log10( (|r|^2 + delta) / (|d|^2 + delta) )            see `nsdr`
    SI-SDR  10 log10( |a r|^2 / |a r - e|^2 ),  a = <r, e> / |r|^2
            where |a r - e|^2 = |e|^2 - <r, e>^2 / |r|^2 = |d|^2 - <r, d>^2 / |r|^2
    SDR     10 log10( |r|^2 / |d|^2 ) of a frame                     see `bsseval`

SI-SDR scales the reference to the best fit of the estimate, with one factor for all channels and without removing means
(J. Le Roux, S. Wisdom, H. Erdogan, J. Hershey, "SDR: half-baked or well done?", ICASSP 2019, arXiv:1811.02508, equation
2).
"""

import dataclasses
import typing as tp

import torch

from ..errors import AudioError
from .nsdr import normalized


@dataclasses.dataclass(frozen=True)
class Energies:
    """Inner products <., .> of the reference r, the estimate e and the error d = r - e, for K sums of sources in T
    frames: each [T, K], float64. The last frame may be shorter.

    `silent` [T, 2, K] marks frames in which the channels of the reference (index 0), or of the estimate (1), add up to
    zero at every sample.
    """
    reference: torch.Tensor          # <r, r>
    estimate: torch.Tensor           # <e, e>
    error: torch.Tensor              # <d, d>
    fitting: torch.Tensor            # <r, e>
    missing: torch.Tensor            # <r, d>
    silent: torch.Tensor
    whole: int                       # number of frames of full length; 1 for a single shorter frame

    def __getitem__(self, sums: slice) -> "Energies":
        """Energies of the sums of sources that the slice `sums` selects, in all frames."""
        return Energies(*(energy[..., sums] for energy in (
            self.reference, self.estimate, self.error, self.fitting, self.missing, self.silent)), self.whole)

    def nsdr(self) -> torch.Tensor:
        """nSDR of each sum of sources over the whole track, in dB: [K]."""
        return normalized(self.reference.sum(0), self.error.sum(0))

    def si_sdr(self) -> torch.Tensor:
        """SI-SDR of each sum of sources over the whole track, in dB: [K]. NaN if reference or estimate is silent, -inf
        for an estimate orthogonal to its reference, inf for one that is proportional to it."""
        own, estimate, error, fitting, missing = (energy.sum(0) for energy in (
            self.reference, self.estimate, self.error, self.fitting, self.missing))
        # Of two equivalent forms, the one with smaller terms: it loses fewer digits in the difference.
        rest = torch.where(error < estimate, error - missing.square() / own, estimate - fitting.square() / own)
        return 10 * torch.log10(fitting.square() / own / rest.clamp(min=0))

    def sdr(self) -> torch.Tensor:
        """SDR of each sum of sources in each whole frame, in dB: [K, whole]. NaN for frames in which reference or
        estimate is silent, inf if the error is zero."""
        ratio = decibels(self.reference[:self.whole], self.error[:self.whole])
        return ratio.masked_fill(self.silent[:self.whole].any(1), torch.nan).t()


def decibels(signal: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
    """10 log10(signal / error) of energies, tensors of one shape; inf wherever the error is zero, as in museval."""
    return torch.where(error == 0, torch.inf, 10 * torch.log10(signal / error))


def energies(references: torch.Tensor, estimates: torch.Tensor, parts: tp.Sequence[tp.Sequence[int]], *,
             samplerate: int) -> Energies:
    """Energies of sums of sources, and their errors, in frames of one second.

    Args:
        references: reference sources [S, A, L], on any device that supports float64.
        estimates: their estimates, of the same shape and order.
        parts: for each of the K sums, the indices of its sources; a single index for a source itself.
        samplerate: sample rate in Hz; a frame has this many samples, or all of a shorter track.

    Raises:
        AudioError: if the shapes differ, are not three-dimensional, or empty.
    """
    if references.shape != estimates.shape or references.dim() != 3 or references.numel() == 0:
        raise AudioError(f"scores compare signals of one shape [sources, channels, samples]: references are "
                         f"{tuple(references.shape)}, estimates {tuple(estimates.shape)}")
    count, channels, length = references.shape
    frame = min(samplerate, length)
    weights = torch.zeros(len(parts), count, dtype=torch.float64)
    for row, indices in zip(weights, parts):
        row[list(indices)] = 1
    weights = weights.to(references.device)
    real = {"dtype": torch.float64, "device": references.device}
    frames = -(-length // frame)
    products = torch.empty(frames, 3 * count, 3 * count, **real)
    silent = torch.empty(frames, 2, len(parts), dtype=torch.bool, device=references.device)
    # Buffers are allocated once: between small results that stay, malloc would not find the large ones of the frame
    # before again, and memory would grow with the length of the track.
    whole, sums = torch.empty(3, count, channels, frame, **real), torch.empty(2, count, frame, **real)
    mixed = torch.empty(len(parts), frame, **real)
    for index in range(frames):
        some = slice(index * frame, min(length, (index + 1) * frame))
        size = some.stop - some.start
        every = whole[..., :size]
        every[0], every[1] = references[..., some], estimates[..., some]
        torch.sub(every[0], every[1], out=every[2])
        torch.sum(every[:2], dim=2, out=sums[..., :size])
        for which in range(2):
            silent[index, which] = torch.mm(weights, sums[which, :, :size], out=mixed[:, :size]).eq(0).all(-1)
        flat = every.reshape(3 * count, -1)
        torch.mm(flat, flat.t(), out=products[index])
    stacked = products.unflatten(1, (3, count)).unflatten(-1, (3, count))      # [T, 3, S, 3, S]

    def of(first: int, second: int) -> torch.Tensor:
        return torch.einsum("ki,tij,kj->tk", weights, stacked[:, first, :, second], weights)
    return Energies(reference=of(0, 0), estimate=of(1, 1), error=of(2, 2), fitting=of(0, 1), missing=of(0, 2),
                    silent=silent, whole=length // frame)
