"""How a hybrid model sees a waveform: the spectrogram grid, and complex numbers as real channels.

`SpectralView` fixes the grid. `ComplexAsChannels` and `MagnitudeMask` are the two published ways between a complex
spectrogram and the real tensor that a network works on.
"""

import dataclasses
import math

import torch
from torch.nn import functional as F

from ...dsp.spectral import istft, pad_reflect, stft
from ...dsp.wiener import wiener


@dataclasses.dataclass(frozen=True)
class SpectralView:
    """A short-time Fourier transform without the Nyquist bin, so that F = n_fft / 2 is even.

    Args:
        n_fft: window length in samples.
        aligned: pad so that there is exactly one frame per started hop, T = ceil(L / hop). A time branch whose strides
            multiply to the hop then has as many steps. Otherwise T = 1 + L // hop, the frames of a centred transform.
        legacy_padding: for `aligned`, pad with zeros instead of mirroring, and skip the compensating shift in the
            synthesis: the padding mistake of the first published hybrid models (`hybrid_old`), kept for their weights.
        overlap: windows that cover a sample, n_fft / hop: 4 in published models, 2 and 8 in their variants.

    Raises:
        ValueError: for an overlap that is not an even divisor of `n_fft`.
    """
    n_fft: int
    aligned: bool = True
    legacy_padding: bool = False
    overlap: int = 4

    def __post_init__(self) -> None:
        if self.overlap < 2 or self.overlap % 2 or self.n_fft % self.overlap:
            raise ValueError(f"a window of {self.n_fft} samples cannot overlap {self.overlap} times; use an even number "
                             f"that divides it, such as 4")

    @property
    def hop(self) -> int:
        return self.n_fft // self.overlap

    @property
    def bins(self) -> int:
        return self.n_fft // 2

    @property
    def _dropped(self) -> int:
        """Frames before the first one that is kept."""
        return self.overlap // 2

    @property
    def _margin(self) -> int:
        """Samples before the signal: with the frames that are dropped, frame t is centred (t + 1/2) hops in; with an overlap
        of 2 it is centred t hops in."""
        return self.hop // 2 * (self.overlap - 1) if self.overlap > 2 else self.hop

    def analyse(self, x: torch.Tensor) -> torch.Tensor:
        """Complex spectrogram [..., F, T] of a waveform [..., L]."""
        if not self.aligned:
            # A centred transform mirrors half a window at each end, for which the signal must be longer than that.
            x = F.pad(x, (0, max(0, self.n_fft // 2 + 1 - x.shape[-1])))
            return stft(x, n_fft=self.n_fft, hop=self.hop)[..., :-1, :]
        frames = math.ceil(x.shape[-1] / self.hop)
        right = self._margin + frames * self.hop - x.shape[-1]
        x = F.pad(x, (self._margin, right)) if self.legacy_padding else pad_reflect(x, self._margin, right)
        return stft(x, n_fft=self.n_fft, hop=self.hop)[..., :-1, self._dropped:self._dropped + frames]

    def synthesise(self, z: torch.Tensor, length: int) -> torch.Tensor:
        """Waveform [..., length] of a complex spectrogram [..., F, T]."""
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
    """Real and imaginary parts are channels, in and out (Choi et al. 2020): the network predicts the spectrogram."""

    channels_per_signal = 2

    def encode(self, z: torch.Tensor) -> torch.Tensor:
        """[B, A, F, T] complex -> [B, 2 A, F, T] real."""
        return torch.view_as_real(z).permute(0, 1, 4, 2, 3).flatten(1, 2)

    def decode(self, features: torch.Tensor, mix: torch.Tensor, training: bool) -> torch.Tensor:
        """[B, S, 2 A, F, T] real -> [B, S, A, F, T] complex. `mix` and `training` do not matter here."""
        batch, sources, _, bins, frames = features.shape
        pairs = features.view(batch, sources, -1, 2, bins, frames).permute(0, 1, 2, 4, 5, 3)
        return torch.view_as_complex(pairs.contiguous())


@dataclasses.dataclass(frozen=True)
class MagnitudeMask:
    """Magnitudes in and out; phases come from the mixture, by Wiener filtering or directly.

    Args:
        wiener_iters: rounds of expectation-maximisation when separating; a negative number multiplies the magnitude
            with mix / (|mix| + 1e-8) instead.
        end_iters: the same in training mode.
        residual: filter with a further source that takes the rest.
    """
    wiener_iters: int = 0
    end_iters: int = 0
    residual: bool = False

    channels_per_signal = 1

    def encode(self, z: torch.Tensor) -> torch.Tensor:
        """[B, A, F, T] complex -> [B, A, F, T] magnitudes."""
        return z.abs()

    def decode(self, features: torch.Tensor, mix: torch.Tensor, training: bool) -> torch.Tensor:
        """[B, S, A, F, T] magnitudes with the mixture [B, A, F, T] -> [B, S, A, F, T] complex."""
        iterations = self.end_iters if training else self.wiener_iters
        if iterations < 0:
            mix = mix[:, None]
            return mix / (1e-8 + mix.abs()) * features
        return wiener(features, mix, iterations=iterations, residual=self.residual)
