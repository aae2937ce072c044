"""Batch normalisation with the statistics of all ranks, on ranks that are simulated: a sum over two ranks that have the
same rows is twice that of one of them."""

import pytest
import torch
from torch import nn

from demucs.layers.normalisation import BatchNorm1d


def pair(channels=6):
    torch.manual_seed(0)
    layers = BatchNorm1d(channels), nn.BatchNorm1d(channels)
    for layer in layers:
        with torch.no_grad():
            layer.weight.copy_(torch.linspace(0.5, 2, channels))
            layer.bias.copy_(torch.linspace(-1, 1, channels))
    return layers


def results(layer, x):
    """(output, gradients of input, weight and bias, buffers) after two training steps."""
    x = x.clone().requires_grad_()
    layer(x.detach())
    out = layer(x)
    (out.sin() * torch.arange(1., len(x) + 1)[:, None]).sum().backward()
    return [out.detach(), x.grad, layer.weight.grad, layer.bias.grad, *layer.buffers()]


@pytest.mark.parametrize("shift", [0., 30.])
def test_of_one_and_two_ranks(shift):
    """Rows that are far from zero, too."""
    x = torch.randn(20, 6, generator=torch.Generator().manual_seed(1)) * 3 + shift
    for ranks in (1, 2):
        ours, torch_s = pair()
        ours.sum_over_ranks = lambda tensor: tensor * ranks
        found = results(ours, x)
        # The other rank has the same rows, and the same weights of its loss.
        expected = results(torch_s, x) if ranks == 1 else doubled(torch_s, x)
        for one, other in zip(found, expected):
            assert torch.allclose(one.float(), other.float(), rtol=1e-5, atol=2e-5), ranks


def doubled(layer, x):
    """As `results`, for the first of two equal halves of a batch."""
    rows = torch.cat([x, x]).requires_grad_()
    layer(rows.detach())
    out = layer(rows)
    (out.sin() * torch.arange(1., len(x) + 1).repeat(2)[:, None]).sum().backward()
    half = slice(0, len(x))
    return [out.detach()[half], rows.grad[half], layer.weight.grad / 2, layer.bias.grad / 2, *layer.buffers()]


def test_in_evaluation_it_is_torch_s():
    ours, torch_s = pair()
    ours.sum_over_ranks = lambda tensor: pytest.fail("a collective call in evaluation")
    x = torch.randn(5, 6)
    assert torch.equal(ours.eval()(x), torch_s.eval()(x))


def test_alone_it_is_torch_s():
    ours, torch_s = pair()
    for one, other in zip(results(ours, torch.ones(9, 6).cumsum(0)), results(torch_s, torch.ones(9, 6).cumsum(0))):
        assert torch.equal(one, other)


def test_16_bits_are_normalised_in_float32():
    ours, _ = pair()
    ours.sum_over_ranks = lambda x: x
    assert ours(torch.randn(20, 6, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("ranks", [None, 1])
def test_a_gain_and_an_offset_of_the_result(training, ranks):
    gain, offset = torch.linspace(-1, 2, 6), torch.linspace(0, 1, 6)
    x = torch.randn(20, 6) * 3 + 5
    ours, torch_s = pair()
    ours.sum_over_ranks = None if ranks is None else lambda tensor: tensor
    found = ours.train(training)(x, gain=gain, offset=offset)
    assert torch.allclose(found, torch_s.train(training)(x) * gain + offset, atol=1e-5)
    for one, other in zip(ours.buffers(), torch_s.buffers()):
        assert torch.allclose(one.float(), other.float(), rtol=1e-5)
