"""nSDR: signal-to-distortion ratio over a whole track, as defined by the Music Demixing Challenge 2021.

Y. Mitsufuji et al., "Music Demixing Challenge 2021", Frontiers in Signal Processing 1, 2022 (arXiv:2108.13559).
For one source with reference s and estimate e, summed over all channels and samples of the track,

    nSDR = 10 log10( (sum s^2 + delta) / (sum (s - e)^2 + delta) ),   delta = 1e-7.

It needs no frames, filters or permutation, so it is very fast. A silent estimate has 0 dB. Delta keeps the ratio
finite: a perfect estimate has about 10 log10(sum s^2) + 70 dB; for a silent reference, a silent estimate has 0 dB and
any other far less than 0 dB.
"""

import torch

from ..errors import AudioError

DELTA = 1e-7


def nsdr(references: torch.Tensor, estimates: torch.Tensor) -> torch.Tensor:
    """nSDR of each source in dB, over all channels and samples; definition at the top of this module.

    Sums are computed in the type of the input. float32 loses precision over millions of samples: use float64 if the
    last digits matter.

    Args:
        references: reference sources, shape [..., S, A, L].
        estimates: estimated sources, of the same shape.

    Returns:
        Shape [..., S]. NaN for a source with a NaN sample in reference or estimate.

    Raises:
        AudioError: if the shapes differ, have fewer than three dimensions, or A or L is 0.
    """
    if references.shape != estimates.shape:
        raise AudioError(f"nSDR compares signals of one shape: references are {tuple(references.shape)}, estimates "
                         f"{tuple(estimates.shape)}; trim or convert the estimates first")
    if references.dim() < 3:
        raise AudioError(f"nSDR takes [..., sources, channels, samples], got the shape {tuple(references.shape)}")
    if references.shape[-1] * references.shape[-2] == 0:
        raise AudioError(f"nSDR of no samples is undefined: the shape is {tuple(references.shape)}")
    signal = references.square().sum(dim=(-2, -1))
    error = (references - estimates).square().sum(dim=(-2, -1))
    return normalized(signal, error)


def normalized(signal: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
    """nSDR in dB from the energies of the references (`signal`) and of the errors, tensors of one shape; definition at
    the top of this module."""
    return 10 * torch.log10((signal + DELTA) / (error + DELTA))
