"""Short-time Fourier transforms: the inverse, with and without gradients."""

import pytest
import torch
from host_waits import counted

from demucs.dsp import spectral
from demucs.dsp.spectral import istft, stft


def torch_istft(z, *, hop, length):
    n_fft = 2 * (z.shape[-2] - 1)
    window = torch.hann_window(n_fft, device=z.device)
    return torch.istft(z.reshape(-1, *z.shape[-2:]), n_fft, hop, window=window, normalized=True,
                       length=length).view(*z.shape[:-2], length)


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


@pytest.mark.parametrize("n_fft, hop, shape, frames, length", [
    (4096, 1024, (2, 3), 12, 11 * 1024 - 7), (512, 128, (), 9, 8 * 128), (64, 32, (5,), 20, 500),
    (128, 16, (2,), 9, 60)])
def test_signals_and_gradients_are_bit_for_bit_those_of_torch(n_fft, hop, shape, frames, length):
    """Golden files of trainings on a CPU depend on these bits."""
    z = torch.randn(*shape, n_fft // 2 + 1, frames, dtype=torch.complex64, requires_grad=True)
    weights = torch.randn(*shape, length)
    theirs = torch_istft(z, hop=hop, length=length)
    for _ in range(2):                  # with a new envelope, and with the stored one
        ours = istft(z, hop=hop, length=length)
        assert torch.equal(ours, theirs)
        assert torch.equal(*(torch.autograd.grad(x, z, weights, retain_graph=True)[0] for x in (ours, theirs)))


def test_stored_envelopes_are_good_for_gradients_and_of_each_type():
    """The first call may be one in inference mode, whose tensors autograd does not accept, or in float64."""
    spectral._stored_window.cache_clear()
    spectral._stored_envelope.cache_clear()
    z = torch.randn(1, 33, 7, dtype=torch.complex128)
    with torch.inference_mode():
        spectral._envelope(64, 16, 7, torch.ones(1))
    precise = istft(z.requires_grad_(), hop=16, length=90)
    single = istft(z.detach().to(torch.complex64).requires_grad_(), hop=16, length=90)
    single.sum().backward()
    precise.sum().backward()
    assert precise.dtype == torch.float64 and single.dtype == torch.float32
    assert (precise - single).abs().max() <= 1e-6 * precise.abs().max()


def test_the_host_does_not_wait():
    """Neither for a check of the window nor for its copy to the device."""
    for transform in (istft, torch_istft):
        with counted() as waits:
            z = stft(torch.randn(2, 200, device="cuda"), n_fft=64, hop=16)
            assert transform(z, hop=16, length=200).device.type == "cuda"
        assert sum(waits.found.values()) == (transform is torch_istft)         # the counter sees that of torch
    z = torch.randn(2, 33, 9, dtype=torch.complex64, requires_grad=True)
    assert istft(z, hop=16, length=100).shape == (2, 100)                      # no fake tensor was stored


@pytest.mark.parametrize("overlap", [2, 4])
def test_one_graph_for_the_compiler(overlap):
    z = torch.randn(3, 65, 9, dtype=torch.complex64, requires_grad=True)
    given = {"hop": 128 // overlap, "length": 7 * 128 // overlap}
    compiled = torch.compile(lambda z: istft(z, **given), fullgraph=True, backend="aot_eager")(z)
    eager = istft(z, **given)
    assert (compiled - eager).abs().max() <= 1e-6 * eager.abs().max()
    gradients = [torch.autograd.grad(x.square().sum(), z)[0] for x in (compiled, eager)]
    assert (gradients[0] - gradients[1]).abs().max() <= 1e-6 * gradients[1].abs().max()
