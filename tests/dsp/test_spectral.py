"""Short-time Fourier transforms: the inverse, with and without gradients."""

import pytest
import torch

from demucs.dsp.spectral import istft, stft


@pytest.mark.parametrize("shape", [(2, 3, 9000), (7001,)])
@pytest.mark.parametrize("n_fft", [512, 4096])
def test_inverse(shape, n_fft):
    x = torch.randn(shape)
    z = stft(x, n_fft=n_fft, hop=n_fft // 4)
    assert z.shape == (*shape[:-1], n_fft // 2 + 1, 1 + shape[-1] // (n_fft // 4))
    with torch.no_grad():
        assert (istft(z, hop=n_fft // 4, length=shape[-1]) - x).abs().max() <= 5e-6
    assert (istft(z, hop=n_fft // 4, length=shape[-1]) - x).abs().max() <= 5e-6


@pytest.mark.parametrize("frames, length", [(40, 40 * 128), (40, 30 * 128 + 5), (2, 128), (3, 900)])
def test_without_gradients_the_same_signal(frames, length):
    """One signal at a time, as torch makes them all at once; z is not the spectrogram of any signal."""
    z = torch.randn(2, 2, 257, frames, dtype=torch.complex64)
    length = min(length, (frames - 1) * 128)
    given = {"hop": 128, "length": length}
    with torch.no_grad():
        lean = istft(z, **given)
        transposed = istft(z.transpose(-1, -2).contiguous().transpose(-1, -2), **given)
    truth = istft(z, **given)
    assert lean.shape == truth.shape == (2, 2, length)
    assert (lean - truth).abs().max() <= 2e-6 * truth.abs().max()
    assert torch.equal(lean, transposed)


def test_beyond_the_last_frame_there_are_zeros():
    z = torch.randn(129, 5, dtype=torch.complex64)
    with torch.no_grad():
        x = istft(z, hop=64, length=2000)
    assert x.shape == (2000,) and x[:64 * 4].any() and not x[64 * 4 + 128:].any()


def test_gradient():
    z = torch.randn(33, 9, dtype=torch.complex128, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: istft(z, hop=16, length=120), z)
