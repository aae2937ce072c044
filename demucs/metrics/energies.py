"""nSDR and SI-SDR of whole tracks and SDR of frames, of sources and of sums of sources at once.

All of them follow from inner products of the reference r, the estimate e and the error d = r - e. For a sum of sources
these are sums of those of its parts. So one pass over a track suffices for its sources and for any sums of them: a
small matrix of inner products per frame. It computes in float64 without a copy of the track in float64, and since
errors are subtracted first, that of an exact copy is exactly zero.

    nSDR    10 log10( (|r|^2 + delta) / (|d|^2 + delta) )            see `nsdr`
    SI-SDR  10 log10( |a r|^2 / |a r - e|^2 ),  a = <r, e> / |r|^2
            where |a r - e|^2 = |e|^2 - <r, e>^2 / |r|^2 = |d|^2 - <r, d>^2 / |r|^2
    SDR     10 log10( |r|^2 / |d|^2 ) of a frame                     see `bsseval`

SI-SDR scales the reference to fit the estimate best, all channels by one factor, and makes nothing zero-mean (J. Le
Roux, S. Wisdom, H. Erdogan, J. Hershey, "SDR: half-baked or well done?", ICASSP 2019, arXiv:1811.02508, equation 2).
"""

import dataclasses
import typing as tp

import torch

from ..errors import AudioError
from .nsdr import normalized


@dataclasses.dataclass(frozen=True)
class Energies:
    """Of K sums in T frames, the last of which may be shorter than `frame` samples: [T, K] each, float64.

    `silent` [T, 2, K] is where the channels of the reference, and where those of the estimate, add up to zero at every
    sample.
    """
    reference: torch.Tensor          # <r, r>
    estimate: torch.Tensor           # <e, e>
    error: torch.Tensor              # <d, d>
    fitting: torch.Tensor            # <r, e>
    missing: torch.Tensor            # <r, d>
    silent: torch.Tensor
    whole: int                       # frames of full length, or the only one

    def __getitem__(self, sums: slice) -> "Energies":
        """The same of some of the sums."""
        return Energies(*(energy[..., sums] for energy in (
            self.reference, self.estimate, self.error, self.fitting, self.missing, self.silent)), self.whole)

    def nsdr(self) -> torch.Tensor:
        """[K], of the whole track."""
        return normalized(self.reference.sum(0), self.error.sum(0))

    def si_sdr(self) -> torch.Tensor:
        """[K], of the whole track: NaN where reference or estimate is silent, -inf for an estimate that has nothing of
        its reference, inf for one that is proportional to it."""
        own, estimate, error, fitting, missing = (energy.sum(0) for energy in (
            self.reference, self.estimate, self.error, self.fitting, self.missing))
        # Of two forms the one whose terms are smaller: it loses fewer digits in the difference.
        rest = torch.where(error < estimate, error - missing.square() / own, estimate - fitting.square() / own)
        return 10 * torch.log10(fitting.square() / own / rest.clamp(min=0))

    def sdr(self) -> torch.Tensor:
        """[K, whole frames]: NaN where a frame is silent, inf where there is no error."""
        ratio = decibels(self.reference[:self.whole], self.error[:self.whole])
        return ratio.masked_fill(self.silent[:self.whole].any(1), torch.nan).t()


def decibels(signal: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
    """10 log10 of a ratio of energies; inf where there is no error, as museval has it."""
    return torch.where(error == 0, torch.inf, 10 * torch.log10(signal / error))


def energies(references: torch.Tensor, estimates: torch.Tensor, parts: tp.Sequence[tp.Sequence[int]], *,
             samplerate: int) -> Energies:
    """Energies of sums of sources in frames of one second.

    Args:
        references: true sources [S, A, L], on any device that computes in float64.
        estimates: their estimates, the same shape and order.
        parts: for each of the K sums, the indices of its sources.
        samplerate: Hz; a frame has this many samples, or all of a shorter track.

    Raises:
        AudioError: the shapes differ, are not three-dimensional, or hold no sample.
    """
    if references.shape != estimates.shape or references.dim() != 3 or references.numel() == 0:
        raise AudioError(f"scores compare signals of one shape [sources, channels, samples]: references are "
                         f"{tuple(references.shape)}, estimates {tuple(estimates.shape)}")
    count, _, length = references.shape
    frame = min(samplerate, length)
    weights = torch.zeros(len(parts), count, dtype=torch.float64)
    for row, indices in zip(weights, parts):
        row[list(indices)] = 1
    weights = weights.to(references.device)
    products, silent = [], []
    for begin in range(0, length, frame):
        reference, estimate = (wav[..., begin:begin + frame].double() for wav in (references, estimates))
        silent.append(torch.stack([(weights @ wav.sum(1)).eq(0).all(-1) for wav in (reference, estimate)]))
        every = torch.cat([reference, estimate, reference - estimate]).flatten(1)
        products.append(every @ every.t())
    stacked = torch.stack(products).unflatten(1, (3, count)).unflatten(-1, (3, count))      # [T, 3, S, 3, S]

    def of(first: int, second: int) -> torch.Tensor:
        return torch.einsum("ki,tij,kj->tk", weights, stacked[:, first, :, second], weights)
    return Energies(reference=of(0, 0), estimate=of(1, 1), error=of(2, 2), fitting=of(0, 1), missing=of(0, 2),
                    silent=torch.stack(silent), whole=length // frame)
