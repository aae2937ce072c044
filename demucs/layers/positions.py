"""Positional encodings of the cross-domain transformer (Rouard et al. 2022, arXiv:2211.08553, section 3).

All are added to the tokens. The two published sinusoidal encodings differ. That of time has all cosines before all
sines, and the longest period is exactly 2 pi * `period`. That of frequency and time encodes time in the first half of
the channels and frequency in the second half, with alternating sines and cosines (Vaswani et al. 2017).
"""

import math
import typing as tp

import torch
from torch import nn

SCALE, BOOST = 0.2, 3.        # initial standard deviation and factor of learned encodings, as published


def sinusoids(positions: torch.Tensor, channels: int, period: float) -> torch.Tensor:
    """Sinusoidal encoding [..., channels] of `positions` [...]: cosines, then sines, with periods (in units of
    positions) that increase geometrically from 2 pi to 2 pi * `period`. `channels` must be even and at least 4."""
    half = channels // 2
    exponents = torch.arange(half, device=positions.device) / (half - 1)
    phases = positions[..., None] / period ** exponents
    return torch.cat([phases.cos(), phases.sin()], dim=-1)


def sinusoids_2d(channels: int, bins: int, frames: int, period: float, device: torch.device) -> torch.Tensor:
    """Sinusoidal encoding [channels, bins, frames] of the positions of a spectrogram: time in the first half of the
    channels, frequency in the second. Periods, in bins or frames, are between 2 pi and 2 pi * `period`. `channels` must
    be divisible by 4."""
    half = channels // 2
    rates = torch.exp(torch.arange(0., half, 2, device=device) * -(math.log(period) / half))        # [half / 2]

    def one_axis(size: int) -> torch.Tensor:
        phases = rates[:, None] * torch.arange(float(size), device=device)
        return torch.stack([phases.sin(), phases.cos()], dim=1).flatten(0, 1)                       # [half, size]
    in_time = one_axis(frames)[:, None, :].expand(-1, bins, -1)
    in_frequency = one_axis(bins)[:, :, None].expand(-1, -1, frames)
    return torch.cat([in_time, in_frequency])


class SinusoidalTime(nn.Module):
    """Sinusoidal encoding of T time steps, [1, T, C], computed by `forward(batch, T, device)`. In training it starts at
    a random step in [0, random_shift]; otherwise at step 0 (in published Demucs, at a random step in separation,
    too)."""

    def __init__(self, channels: int, *, period: float, random_shift: int):
        super().__init__()
        self.channels = channels
        self.period = period
        self.random_shift = random_shift

    def forward(self, batch: int, steps: int, device: torch.device) -> torch.Tensor:
        first = 0
        if self.random_shift and self.training:
            first = int(torch.randint(self.random_shift + 1, ()))
        return sinusoids(torch.arange(first, first + steps, device=device), self.channels, self.period)[None]


class CapeTime(nn.Module):
    """Continuous augmented positional encoding of T time steps, [B, T, C], computed by `forward(B, T, device)`
    (Likhomanenko et al. 2021, "CAPE", arXiv:2106.03143). In training, all positions are shifted, each position is
    shifted on its own, and time is stretched, at random for each example.

    Args:
        channels: number of channels C.
        period: longest period / 2 pi, in steps.
        centred: positions have zero mean (before augmentation).
        augment: apply these augmentations in training.
        global_shift, local_shift: maximum shifts in steps, in either direction.
        scale: maximum stretch factor; the minimum is its reciprocal.
    """

    def __init__(self, channels: int, *, period: float, centred: bool, augment: bool, global_shift: float,
                 local_shift: float, scale: float):
        super().__init__()
        self.channels = channels
        self.period = period
        self.centred = centred
        self.augment = augment
        self.global_shift = global_shift
        self.local_shift = local_shift
        self.log_scale = math.log(scale)

    def forward(self, batch: int, steps: int, device: torch.device) -> torch.Tensor:
        positions = torch.arange(float(steps)).expand(batch, steps)
        if self.centred:
            positions = positions - positions.mean(dim=1, keepdim=True)
        if self.augment and self.training:
            shift = self._uniform(self.global_shift, batch, 1)
            local = self._uniform(self.local_shift, batch, steps)
            stretch = self._uniform(self.log_scale, batch, 1).exp()
            positions = (positions + shift + local) * stretch
        return sinusoids(positions.to(device), self.channels, self.period).float()

    def _uniform(self, bound: float, *shape: int) -> torch.Tensor:
        """Uniform values in [-bound, bound], from torch's global generator on the CPU, so that they are equal on all
        devices."""
        return (2 * torch.rand(*shape, dtype=torch.float64) - 1) * bound


class LearntTime(nn.Module):
    """Learned encoding of T time steps, [1, T, C], computed by `forward(batch, T, device)`, which raises ValueError for
    more than `steps` of them. The stored parameter is the encoding divided by `BOOST`, which multiplies its learning
    rate under Adam."""

    def __init__(self, channels: int, *, steps: int):
        super().__init__()
        self.embedding = nn.Embedding(steps, channels)
        self.embedding.weight.data *= SCALE / BOOST

    def forward(self, batch: int, steps: int, device: torch.device) -> torch.Tensor:
        known = self.embedding.num_embeddings
        if steps > known:
            raise ValueError(f"t_emb=scaled knows {known} steps (t_max_positions), the input has {steps}; separate in "
                             f"shorter segments")
        return self.embedding.weight[None, :steps] * BOOST


POSITIONS: tp.Tuple[str, ...] = ("sin", "cape", "scaled")
