"""nSDR and SI-SDR of tracks as long as songs: the formulas of `nsdr.nsdr` and `bsseval.si_sdr`, summed in float64 over
blocks, so that no copy of a song in float64 exists.
"""

import typing as tp

import torch

from ..errors import AudioError
from .nsdr import DELTA

BLOCK = 2 ** 20          # samples whose float64 copies exist at a time

Sums = tp.Callable[[torch.Tensor, torch.Tensor], tp.Tuple[torch.Tensor, ...]]


def whole_track(references: torch.Tensor, estimates: torch.Tensor) -> tp.Dict[str, torch.Tensor]:
    """Scores of every source over the whole track, in dB: {"nsdr": [S], "si_sdr": [S]}, float64.

    Args:
        references: true sources [S, A, L], on any device that computes in float64.
        estimates: their estimates, the same shape and order.

    Returns:
        nSDR is always defined for finite samples; SI-SDR is NaN where reference or estimate is silent, -inf for an
        estimate that has nothing of its reference, and inf for an exact copy.

    Raises:
        AudioError: the shapes differ, are not three-dimensional, or hold no sample.
    """
    if references.shape != estimates.shape or references.dim() != 3 or references.numel() == 0:
        raise AudioError(f"scores compare signals of one shape [sources, channels, samples]: references are "
                         f"{tuple(references.shape)}, estimates {tuple(estimates.shape)}")
    own, across, error = _sums(references, estimates, lambda reference, estimate: (
        reference.square(), reference * estimate, (reference - estimate).square()))
    scale = across / own
    rest, = _sums(references, estimates, lambda reference, estimate: (
        (scale[:, None, None] * reference - estimate).square(),))
    return {"nsdr": 10 * torch.log10((own + DELTA) / (error + DELTA)),
            "si_sdr": 10 * torch.log10(scale.square() * own / rest)}


def _sums(references: torch.Tensor, estimates: torch.Tensor, terms: Sums) -> tp.List[torch.Tensor]:
    """Sums [S] over channels and samples of each of `terms`, block by block."""
    parts = []
    for begin in range(0, references.shape[-1], BLOCK):
        block = [wav[..., begin:begin + BLOCK].double() for wav in (references, estimates)]
        parts.append([term.sum((1, 2)) for term in terms(*block)])
    return [torch.stack(column).sum(0) for column in zip(*parts)]
