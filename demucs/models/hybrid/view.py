"""Spectrograms of hybrid models, and their representation as real tensors.

`SpectralView` is the transform. `ComplexAsChannels` and `MagnitudeMask` are the two published conversions between a
complex spectrogram and the real tensors of a network.
"""

import dataclasses
import math

import torch
from torch.nn import functional as F

from ...dsp.spectral import istft, pad_reflect, stft
from ...dsp.wiener import wiener


@dataclasses.dataclass(frozen=True)
class SpectralView:
    """Spectrogram of a branch: a short-time Fourier transform without the Nyquist bin, so that F = n_fft / 2 is even,
    and its inverse.

    Args:
        n_fft: window length in samples.
        aligned: pad to exactly T = ceil(L / hop) frames, as many as a time branch has whose strides multiply to the
            hop. Otherwise T = 1 + L // hop, as in a centred STFT.
        legacy_padding: for `aligned`, pad with zeros instead of by reflection, and omit the compensating shift in the
            synthesis. This is the padding error of the first published hybrid models (`hybrid_old`), kept for their
            weights.
        overlap: number of windows that cover a sample, n_fft / hop: 4 in published models, 2 and 8 in their variants.
        early: for an overlap of 2, centre frame t at t hops, as the variant HTDemucs_i does, instead of (t + 1/2) hops.
            Frames are then half a hop before those of a time branch with the same strides, and the last half hop of a
            signal is attenuated.

    Raises:
        ValueError: for an overlap that is not an even divisor of `n_fft`.
    """
    n_fft: int
    aligned: bool = True
    legacy_padding: bool = False
    overlap: int = 4
    early: bool = False

    def __post_init__(self) -> None:
        if self.overlap < 2 or self.overlap % 2 or self.n_fft % self.overlap:
            raise ValueError(f"a window of {self.n_fft} samples cannot overlap {self.overlap} times; use an even "
                             f"number that divides it, such as 4")
        if self.early and self.overlap != 2:
            raise ValueError(f"frames centred at multiples of the hop need an overlap of 2, got {self.overlap}")

    @property
    def hop(self) -> int:
        """Distance between frames in samples."""
        return self.n_fft // self.overlap

    @property
    def bins(self) -> int:
        """Number of frequency bins F."""
        return self.n_fft // 2

    @property
    def _dropped(self) -> int:
        """Number of frames dropped at the start."""
        return self.overlap // 2

    @property
    def _margin(self) -> int:
        """Number of padded samples before the signal. After dropping frames, frame t is centred at (t + 1/2) hops; if
        `early`, at t hops."""
        return self.hop if self.early else self.hop // 2 * (self.overlap - 1)

    def analyse(self, x: torch.Tensor) -> torch.Tensor:
        """Complex spectrogram [..., F, T] of a waveform [..., L], for any L >= 1. Its normalisation is that of
        `dsp.spectral`."""
        if not self.aligned:
            # A centred STFT pads by reflection of half a window, for which the signal must be longer than that.
            x = F.pad(x, (0, max(0, self.n_fft // 2 + 1 - x.shape[-1])))
            return stft(x, n_fft=self.n_fft, hop=self.hop)[..., :-1, :]
        frames = math.ceil(x.shape[-1] / self.hop)
        right = self._margin + frames * self.hop - x.shape[-1]
        x = F.pad(x, (self._margin, right)) if self.legacy_padding else pad_reflect(x, self._margin, right)
        return stft(x, n_fft=self.n_fft, hop=self.hop)[..., :-1, self._dropped:self._dropped + frames]

    def synthesise(self, z: torch.Tensor, length: int) -> torch.Tensor:
        """Waveform [..., length] of a complex spectrogram [..., F, T]: the inverse of `analyse` except for the Nyquist
        bin (and, with `legacy_padding`, a shift)."""
        z = F.pad(z, (0, 0, 0, 1))
        if not self.aligned:
            return istft(z, hop=self.hop, length=length)
        z = F.pad(z, (self._dropped, max(2, self._dropped)))
        covered = self.hop * math.ceil(length / self.hop)
        if self.legacy_padding:
            return istft(z, hop=self.hop, length=covered)[..., :length]
        x = istft(z, hop=self.hop, length=covered + 2 * self._margin)
        return x[..., self._margin:self._margin + length]


class ComplexAsChannels:
    """Representation of a complex spectrogram by real and imaginary parts as channels (Choi et al. 2020), in input and
    output of the network, which so predicts complex spectrograms."""

    channels_per_signal = 2

    def encode(self, z: torch.Tensor) -> torch.Tensor:
        """Network input: real and imaginary parts [B, 2 A, F, T] of a complex spectrogram [B, A, F, T], alternating."""
        return torch.view_as_real(z).permute(0, 1, 4, 2, 3).flatten(1, 2)

    def decode(self, features: torch.Tensor, mix: torch.Tensor, training: bool) -> torch.Tensor:
        """Complex spectrograms [B, S, A, F, T] of the network's output [B, S, 2 A, F, T]. `mix` and `training` are
        ignored."""
        batch, sources, _, bins, frames = features.shape
        pairs = features.view(batch, sources, -1, 2, bins, frames).permute(0, 1, 2, 4, 5, 3)
        return torch.view_as_complex(pairs.contiguous())


@dataclasses.dataclass(frozen=True)
class MagnitudeMask:
    """Representation of a complex spectrogram by its magnitude, in input and output of the network. The phases of the
    estimates come from the mixture, by Wiener filtering or directly.

    Args:
        wiener_iters: iterations of expectation-maximisation in evaluation mode; if negative, the magnitude is
            multiplied by mix / (|mix| + 1e-8) instead.
        end_iters: the same in training mode.
        residual: filter with an additional source for the residual.
    """
    wiener_iters: int = 0
    end_iters: int = 0
    residual: bool = False

    channels_per_signal = 1

    def encode(self, z: torch.Tensor) -> torch.Tensor:
        """Network input: magnitudes of a complex spectrogram [B, A, F, T]."""
        return z.abs()

    def decode(self, features: torch.Tensor, mix: torch.Tensor, training: bool) -> torch.Tensor:
        """Complex spectrograms [B, S, A, F, T] from estimated magnitudes of the same shape and the complex mixture [B,
        A, F, T]."""
        iterations = self.end_iters if training else self.wiener_iters
        if iterations < 0:
            mix = mix[:, None]
            return mix / (1e-8 + mix.abs()) * features
        return wiener(features, mix, iterations=iterations, residual=self.residual)
