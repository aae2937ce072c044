"""Multichannel Wiener filtering of source spectrograms by expectation-maximisation (EM).

The local Gaussian model of Duong, Vincent and Gribonval (2010) in the weighted, simplified form of Nugraha, Liutkus and
Vincent (2016), as used by Open-Unmix (Stöter et al. 2019) and by HDemucs without complex-as-channels: each source has a
power spectrum v and a spatial covariance R per bin, and its estimate is v R (sum v R)^-1 x.
"""

import typing as tp

import torch

REGULARISATION = 1e-10   # power of the white noise assumed in every bin
WINDOW = 300             # frames filtered together, over which the statistics are estimated
LOUDEST = 10             # largest magnitude of a mixture in the filter
BLOCK = 64               # frames whose filters are computed at a time

Planes = tp.Tuple[torch.Tensor, torch.Tensor]       # real and imaginary part


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
    parts = [torch.complex(*maximised((y.real, y.imag), (x.real, x.imag), iterations))
             for y, x in zip(estimates.split(WINDOW, dim=-1), mix.split(WINDOW, dim=-1))]
    out = torch.cat(parts, dim=-1)
    return out[:, :-1] if residual else out


def maximised(y: Planes, x: Planes, iterations: int, *, time: int = -1) -> Planes:
    """Source spectrograms after EM iterations over all frames of one window, as real and imaginary parts.

    Args:
        y: initial estimates [B, S, A, F, T], or [B, S, A, T, F] for `time` = -2.
        x: mixture [B, A, F, T], or [B, A, T, F].
        iterations: number of EM iterations; 0 gives the initial estimates.
        time: axis of the frames, -1 or -2.
    """
    if iterations == 0:
        return y
    # Loud mixtures are scaled to a maximum of 10 so that the regularisation keeps its relative size.
    peak = (x[0].square() + x[1].square()).amax(dim=(1, 2, 3)).sqrt()
    scale = (peak / LOUDEST).clamp(min=1)
    x = _both(x, lambda part: part / scale[:, None, None, None])
    y = _both(y, lambda part: part / scale[:, None, None, None, None])
    for _ in range(iterations):
        power = (y[0].square() + y[1].square()).mean(2)                                      # v: [B, S, F, T]
        covariance = _covariance(y, REGULARISATION + power.sum(time, keepdim=True), time)    # R
        blocks = [_filtered(*parts, covariance, time) for parts in
                  zip(power.split(BLOCK, dim=time), x[0].split(BLOCK, dim=time), x[1].split(BLOCK, dim=time))]
        y = (torch.cat([re for re, _ in blocks], dim=time), torch.cat([im for _, im in blocks], dim=time))
    return _both(y, lambda part: part * scale[:, None, None, None, None])


def _both(planes: Planes, function: tp.Callable[[torch.Tensor], torch.Tensor]) -> Planes:
    return function(planes[0]), function(planes[1])


class _Covariance(tp.NamedTuple):
    """Spatial covariances of sources, Hermitian matrices over channels: `diagonal[a]` is real, and above it
    `upper[a, c]` (a < c) has real and imaginary part. All are [B, S, F, 1], with one frame along the axis of time."""
    diagonal: tp.List[torch.Tensor]
    upper: tp.Dict[tp.Tuple[int, int], Planes]


def _covariance(y: Planes, weight: torch.Tensor, time: int) -> _Covariance:
    """Covariances between the channels of the estimates `y` [B, S, A, F, T], summed over time, divided by `weight`."""
    re, im = [part.unbind(2) for part in y]
    channels = range(len(re))
    diagonal = [(re[a].square() + im[a].square()).sum(time, keepdim=True) / weight for a in channels]
    upper = {(a, c): ((re[a] * re[c] + im[a] * im[c]).sum(time, keepdim=True) / weight,
                      (im[a] * re[c] - re[a] * im[c]).sum(time, keepdim=True) / weight)
             for a in channels for c in channels if a < c}
    return _Covariance(diagonal, upper)


def _filtered(power: torch.Tensor, re: torch.Tensor, im: torch.Tensor, covariance: _Covariance, time: int) -> Planes:
    """Estimates [B, S, A, F, T] of the sources in the mixture [B, A, F, T], given by `re` and `im`, from their power
    spectra [B, S, F, T] and covariances."""
    noise = REGULARISATION ** 0.5
    diagonal = [(power * entry).sum(1) + noise for entry in covariance.diagonal]             # of sum v R: [B, F, T]
    upper = {key: _both(entry, lambda part: (power * part).sum(1)) for key, entry in covariance.upper.items()}
    whitened = _solved(diagonal, upper, list(zip(re.unbind(1), im.unbind(1))))               # (sum v R)^-1 x
    whitened = [_both(entry, lambda part: part[:, None]) for entry in whitened]
    out_re, out_im = [], []
    for a in range(len(whitened)):
        total_re, total_im = covariance.diagonal[a] * whitened[a][0], covariance.diagonal[a] * whitened[a][1]
        for c, (w_re, w_im) in enumerate(whitened):
            if c != a:
                r_re, r_im = covariance.upper[min(a, c), max(a, c)]
                r_im = r_im if a < c else -r_im
                total_re = total_re + r_re * w_re - r_im * w_im
                total_im = total_im + r_re * w_im + r_im * w_re
        out_re.append(power * total_re)
        out_im.append(power * total_im)
    return torch.stack(out_re, dim=2), torch.stack(out_im, dim=2)


def _solved(diagonal: tp.Sequence[torch.Tensor], upper: tp.Mapping[tp.Tuple[int, int], Planes], x: tp.Sequence[Planes]
            ) -> tp.List[Planes]:
    """Solution, per channel, of the linear system with a Hermitian matrix per bin and the right side `x`."""
    if len(x) == 1:
        return [_both(x[0], lambda part: part / diagonal[0])]
    if len(x) == 2:
        (re0, im0), (re1, im1) = x
        (re, im), (first, second) = upper[0, 1], diagonal
        determinant = first * second - re.square() - im.square()
        return [((second * re0 - re * re1 + im * im1) / determinant,
                 (second * im0 - re * im1 - im * re1) / determinant),
                ((first * re1 - re * re0 - im * im0) / determinant,
                 (first * im1 - re * im0 + im * re0) / determinant)]
    rows = [[torch.complex(diagonal[a], torch.zeros_like(diagonal[a])) if a == c else
             torch.complex(*upper[a, c]) if a < c else torch.complex(*upper[c, a]).conj()
             for c in range(len(x))] for a in range(len(x))]
    matrix = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
    solution = torch.linalg.solve(matrix, torch.stack([torch.complex(*entry) for entry in x], dim=-1))
    return [(entry.real, entry.imag) for entry in solution.unbind(-1)]
