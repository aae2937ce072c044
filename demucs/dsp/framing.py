"""Short-time Fourier transform of a signal in blocks of frames, and its inverse, so that the memory they take does not
depend on the length of the signal.

Hann window, centred frames padded by reflection, no normalisation, any hop: the transform of Open-Unmix.
"""

import typing as tp

import torch

from .spectral import add_frames, hann_window, pad_reflect


class Frames:
    """Centred frames of signals [..., L], for any L >= 1.

    Attributes:
        count: number of frames T = 1 + L // hop.
    """

    def __init__(self, x: torch.Tensor, *, n_fft: int, hop: int):
        self.length = x.shape[-1]
        self.count = 1 + self.length // hop
        self.n_fft, self.hop = n_fft, hop
        self.window = hann_window(n_fft, x)
        self._frames = pad_reflect(x, n_fft // 2, n_fft // 2).unfold(-1, n_fft, hop)

    def blocks(self, size: tp.Optional[int]) -> tp.List[slice]:
        """All frames in blocks of `size`; in one block if it is None."""
        size = size or self.count
        return [slice(start, min(start + size, self.count)) for start in range(0, self.count, size)]

    def spectrum(self, block: slice) -> torch.Tensor:
        """Complex spectrum [..., t, n_fft // 2 + 1] of the t frames of a block."""
        return torch.fft.rfft(self._frames[..., block, :] * self.window)


class Overlap:
    """Inverse transform of spectra that are given in blocks, to signals [*shape, L] of the length of `frames`."""

    def __init__(self, shape: tp.Sequence[int], frames: Frames):
        self.frames = frames
        parts = -(-frames.n_fft // frames.hop)          # frames that overlap
        self._rows = frames.window.new_zeros(*shape, frames.count + parts - 1, frames.hop)

    def add(self, block: slice, spectrum: torch.Tensor) -> None:
        """Add the spectrum [*shape, t, n_fft // 2 + 1] of the t frames of a block."""
        signals = torch.fft.irfft(spectrum, n=self.frames.n_fft) * self.frames.window
        add_frames(self._rows, signals, block.start)

    def signals(self) -> torch.Tensor:
        """The signals [*shape, L], once all blocks are added. To be called once."""
        frames = self.frames
        weight = torch.zeros(self._rows.shape[-2:], device=self._rows.device)
        add_frames(weight, frames.window.square().expand(frames.count, frames.n_fft), 0)
        first = frames.n_fft // 2
        kept = slice(first, first + frames.length)
        return self._rows.flatten(-2)[..., kept].div_(weight.flatten()[kept])
