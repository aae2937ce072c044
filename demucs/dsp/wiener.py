"""Multichannel Wiener filtering of source spectrograms by expectation-maximisation (EM).

The local Gaussian model of Duong, Vincent and Gribonval (2010) in the weighted, simplified form of Nugraha, Liutkus and
Vincent (2016), as used by Open-Unmix (Stöter et al. 2019) and by HDemucs without complex-as-channels: each source has a
power spectrum v and a spatial covariance R per bin, and its estimate is v R (sum v R)^-1 x.
"""

import torch

REGULARISATION = 1e-10   # power of the white noise assumed in every bin
WINDOW = 300             # frames filtered together, over which the statistics are estimated


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
    parts = [_filter(y, x, iterations) for y, x in zip(estimates.split(WINDOW, dim=-1), mix.split(WINDOW, dim=-1))]
    out = torch.cat(parts, dim=-1)
    return out[:, :-1] if residual else out


def _filter(y: torch.Tensor, x: torch.Tensor, iterations: int) -> torch.Tensor:
    """EM over one window with estimates `y` [B, S, A, F, T] and mixture `x` [B, A, F, T]."""
    # Loud mixtures are scaled to a maximum of 10 so that the regularisation keeps its relative size.
    scale = (x.abs().amax(dim=(1, 2, 3)) / 10).clamp(min=1)
    x = x / scale[:, None, None, None]
    y = y / scale[:, None, None, None, None]
    noise = REGULARISATION ** 0.5 * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    mixture = x.permute(0, 2, 3, 1)                                                # [B, F, T, A]
    for _ in range(iterations):
        power = y.abs().square().mean(2)                                           # v: [B, S, F, T]
        covariance = torch.einsum("bsaft,bscft->bsfac", y, y.conj())
        covariance = covariance / (REGULARISATION + power.sum(-1))[..., None, None]   # R: [B, S, F, A, A]
        total = noise + torch.einsum("bsft,bsfac->bftac", power.to(x.dtype), covariance)
        whitened = torch.linalg.solve(total, mixture[..., None])[..., 0]           # (sum v R)^-1 x: [B, F, T, A]
        y = power[:, :, None] * torch.einsum("bsfac,bftc->bsaft", covariance, whitened)
    return y * scale[:, None, None, None, None]
