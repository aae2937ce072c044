"""Multichannel Wiener filtering of source spectrograms by expectation-maximisation (EM).

The local Gaussian model of Duong, Vincent and Gribonval (2010) in the weighted, simplified form of Nugraha, Liutkus and
Vincent (2016), as used by Open-Unmix (Stöter et al. 2019) and by HDemucs without complex-as-channels: each source has
a power spectrum v and a spatial covariance R per bin, and its estimate is v R (sum v R)^-1 x.
"""

import typing as tp

import torch

REGULARISATION = 1e-10   # power of the white noise assumed in every bin
WINDOW = 300             # frames filtered together, over which the statistics are estimated
LOUDEST = 10             # magnitude of a mixture above which the regularisation grows with it
BLOCK = 32               # frames whose filters are computed at a time, such that they stay in the processor's cache

Planes = tp.Tuple[torch.Tensor, torch.Tensor]       # real and imaginary part
# Upper triangle of Hermitian matrices over channels: real and imaginary part of the entries (a, c), a <= c
Covariance = tp.Dict[tp.Tuple[int, int], tp.Tuple[torch.Tensor, tp.Optional[torch.Tensor]]]


def wiener(magnitudes: torch.Tensor, mix: torch.Tensor, *, iterations: int, residual: bool = False) -> torch.Tensor:
    """Complex source spectrograms [B, S, A, F, T] from estimated magnitudes and the mixture. Frames are filtered in
    windows of `WINDOW`, each with its own statistics.

    Args:
        magnitudes: estimated magnitudes [B, S, A, F, T]; the initial phase is that of the mixture.
        mix: complex mixture [B, A, F, T].
        iterations: number of EM iterations; with 0 the result has the given magnitudes and the phase of the mixture.
        residual: add the residual of the mixture (minus the sum of the sources) as another source in the filtering,
            whose estimate is then dropped.

    Unlike in Open-Unmix's implementation, a bin where the mixture is exactly zero stays zero if `iterations` >= 1.
    """
    phase = torch.polar(torch.ones_like(mix.real), mix.angle())
    estimates = magnitudes * phase[:, None]
    if iterations == 0:
        return estimates
    if residual:
        estimates = torch.cat([estimates, mix[:, None] - estimates.sum(1, keepdim=True)], dim=1)
    parts = [maximised((y.real, y.imag), (x.real, x.imag), iterations)
             for y, x in zip(estimates.split(WINDOW, dim=-1), mix.split(WINDOW, dim=-1))]
    out = torch.cat(parts, dim=-1)
    return out[:, :-1] if residual else out


def maximised(y: Planes, x: Planes, iterations: int, *, time: int = -1) -> torch.Tensor:
    """Complex source spectrograms after EM iterations over all frames of one window.

    Args:
        y: initial estimates [B, S, A, F, T], or [B, S, A, T, F] for `time` = -2, as real and imaginary parts.
        x: mixture [B, A, F, T], or [B, A, T, F].
        iterations: number of EM iterations; 0 gives the initial estimates.
        time: axis of the frames, -1 or -2.
    """
    if iterations == 0:
        return torch.complex(*y)
    # In a loud mixture the regularisation has the same size relative to a maximum of `LOUDEST`.
    peak = (x[0].square() + x[1].square()).amax(dim=(1, 2, 3))
    level = (peak / LOUDEST ** 2).clamp(min=1)[:, None, None]                                 # [B, 1, 1]
    for _ in range(iterations):
        z = y[0].new_empty(y[0].shape, dtype=y[0].dtype.to_complex())
        _iterate(y, x, level, time, z)
        y = z.real, z.imag
    return z


def _iterate(y: Planes, x: Planes, level: torch.Tensor, time: int, z: torch.Tensor) -> None:
    """One EM iteration: the filtered estimates are written to `z`, complex [B, S, A, F, T]. `level` [B, 1, 1] is the
    factor on the regularisation."""
    re, im = [part.unbind(2) for part in y]
    channels = range(len(re))
    powers = [torch.addcmul(re[a].square(), im[a], im[a]) for a in channels]                  # [B, S, F, T] each
    power = sum(powers[1:], powers[0]) / len(powers)                                          # v
    weight = REGULARISATION * level[:, None] + power.sum(time, keepdim=True)
    covariance: Covariance = {(a, a): (powers[a].sum(time, keepdim=True) / weight, None) for a in channels}
    for a in channels:
        for c in channels[a + 1:]:
            covariance[a, c] = (
                torch.addcmul(re[a] * re[c], im[a], im[c]).sum(time, keepdim=True) / weight,
                torch.addcmul(im[a] * re[c], re[a], im[c], value=-1).sum(time, keepdim=True) / weight)
    del powers
    noise = REGULARISATION ** 0.5 * level
    for place, v, *parts in zip(_places(power.shape[time]), power.split(BLOCK, dim=time),
                                x[0].split(BLOCK, dim=time), x[1].split(BLOCK, dim=time)):
        some = (..., place) if time == -1 else (..., place, slice(None))
        _filter(v, (parts[0], parts[1]), covariance, noise, (z.real[some], z.imag[some]))


def _places(frames: int) -> tp.List[slice]:
    return [slice(first, min(first + BLOCK, frames)) for first in range(0, frames, BLOCK)]


def _filter(power: torch.Tensor, x: Planes, covariance: Covariance, noise: torch.Tensor, out: Planes) -> None:
    """Filter a block of frames.

    Args:
        power: power spectra [B, S, F, t] of the sources.
        x: mixture [B, A, F, t].
        covariance: their spatial covariances, [B, S, F, 1] per entry. The diagonal is real.
        noise: added to the diagonal of the covariance of the mixture, [B, 1, 1].
        out: estimates [B, S, A, F, t] that are written.
    """
    powers = power.unbind(1)
    total: Covariance = {}                                                                    # sum v R, [B, F, t]
    for (a, c), (real, imaginary) in covariance.items():
        start = noise.expand_as(powers[0]) if a == c else torch.zeros_like(powers[0])
        total[a, c] = (_weighted(start, powers, real), None if imaginary is None else
                       _weighted(torch.zeros_like(powers[0]), powers, imaginary))
    whitened = _solved(total, list(zip(x[0].unbind(1), x[1].unbind(1))))                      # (sum v R)^-1 x
    for source, v in enumerate(powers):
        for a, (own_re, own_im) in enumerate(whitened):
            own = covariance[a, a][0][:, source]
            re, im = own * own_re, own * own_im
            for c, (other_re, other_im) in enumerate(whitened):
                if c != a:
                    entry = covariance[min(a, c), max(a, c)]
                    real, imaginary = (tp.cast(torch.Tensor, part)[:, source] for part in entry)
                    sign = 1 if a < c else -1                       # of the imaginary part: the matrix is Hermitian
                    re = re.addcmul(real, other_re).addcmul(imaginary, other_im, value=-sign)
                    im = im.addcmul(real, other_im).addcmul(imaginary, other_re, value=sign)
            out[0][:, source, a] = v * re
            out[1][:, source, a] = v * im


def _weighted(total: torch.Tensor, powers: tp.Sequence[torch.Tensor], entry: torch.Tensor) -> torch.Tensor:
    """`total` plus the sum over sources of their powers times an entry [B, S, F, 1] of their covariances."""
    for source, v in enumerate(powers):
        total = total.addcmul(v, entry[:, source])
    return total


def _solved(total: Covariance, x: tp.Sequence[Planes]) -> tp.List[Planes]:
    """Solution, per channel, of the linear system with a Hermitian matrix per bin, given by its upper triangle, and the
    right side `x`."""
    if len(x) == 1:
        return [(x[0][0] / total[0, 0][0], x[0][1] / total[0, 0][0])]
    if len(x) == 2:
        (re0, im0), (re1, im1) = x
        first, second = total[0, 0][0], total[1, 1][0]
        re, im = total[0, 1]
        assert im is not None
        inverse = (first * second).addcmul(re, re, value=-1).addcmul(im, im, value=-1).reciprocal_()
        return [((second * re0).addcmul(re, re1, value=-1).addcmul(im, im1) * inverse,
                 (second * im0).addcmul(re, im1, value=-1).addcmul(im, re1, value=-1) * inverse),
                ((first * re1).addcmul(re, re0, value=-1).addcmul(im, im0, value=-1) * inverse,
                 (first * im1).addcmul(re, im0, value=-1).addcmul(im, re0) * inverse)]
    entries = {key: torch.complex(re, torch.zeros_like(re) if im is None else im) for key, (re, im) in total.items()}
    channels = range(len(x))
    matrix = torch.stack([torch.stack([entries[a, c] if a <= c else entries[c, a].conj() for c in channels], dim=-1)
                          for a in channels], dim=-2)
    solution = torch.linalg.solve(matrix, torch.stack([torch.complex(*entry) for entry in x], dim=-1))
    return [(entry.real, entry.imag) for entry in solution.unbind(-1)]
