"""Convolutions as products with Toeplitz matrices against torch's, in double precision."""

import pytest
import torch
from torch import nn

from demucs.dsp.eager import as_on_other_devices
from demucs.layers.cpu import toeplitz

TOLERANCE = 2e-6           # of the largest value, in float32


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(toeplitz, "LONG", 1)


@pytest.fixture
def products(monkeypatch):
    """Shapes of the matrices that were built."""
    seen = []
    build = toeplitz._matrices

    def spy(weight, groups):
        seen.append(build(weight, groups))
        return seen[-1]
    monkeypatch.setattr(toeplitz, "_matrices", spy)
    return seen


def convolution(channels=8, out=8, groups=4, width=9, **settings):
    return nn.Conv2d(channels, out, (3, width), padding=(0, width // 2), groups=groups, **settings)


@pytest.mark.parametrize("groups, out, width", [(4, 8, 9), (4, 12, 129), (2, 2, 1), (8, 8, 5)])
@pytest.mark.parametrize("length", [130, 64, 200])
@pytest.mark.parametrize("bias", [True, False])
def test_same_as_convolution(groups, out, width, length, bias, products):
    torch.manual_seed(0)
    conv, x = convolution(groups=groups, out=out, width=width, bias=bias), torch.randn(2, 8, 3, length)
    if length < width:
        return
    expected = nn.functional.conv2d(x.double(), conv.weight.double(), conv.bias.double() if bias else None,
                                    padding=conv.padding, groups=groups)[:, :, 0]
    found = toeplitz.convolved(conv, x)
    assert products and found.shape == expected.shape
    assert (found - expected).abs().max() <= TOLERANCE * expected.abs().max()


def test_same_gradients(products):
    torch.manual_seed(0)
    conv = convolution().double()
    x = torch.randn(2, 8, 3, 150, dtype=torch.double, requires_grad=True)
    target = torch.randn(2, 8, 150, dtype=torch.double)
    inputs = (x, *conv.parameters())
    found = torch.autograd.grad((toeplitz.convolved(conv, x) * target).sum(), inputs)
    assert products
    expected = torch.autograd.grad((conv(x)[:, :, 0] * target).sum(), inputs)
    for one, other in zip(found, expected):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_only_where_it_is_faster_and_equal(products, monkeypatch):
    x = torch.randn(1, 8, 3, 200)
    toeplitz.convolved(convolution(groups=1), x)                      # many channels
    with as_on_other_devices():
        toeplitz.convolved(convolution(), x)
    strided = nn.Conv2d(8, 8, (3, 9), stride=(1, 2), padding=(0, 4), groups=4)
    assert toeplitz.convolved(strided, x).shape == (1, 8, 100)
    watched, seen = convolution(), []
    watched.register_forward_hook(lambda *_: seen.append(1))
    toeplitz.convolved(watched, x)
    assert seen
    monkeypatch.setattr(toeplitz, "LONG", 64)
    toeplitz.convolved(convolution(), x)                              # short
    assert not products
    toeplitz.convolved(convolution(), torch.randn(1, 8, 3, 64 * 9))
    assert len(products) == 1


def test_padding_of_the_rows_is_left_to_torch(products):
    conv = nn.Conv2d(8, 8, (3, 9), padding=(1, 4), groups=4)
    x = torch.randn(1, 8, 3, 200)
    assert torch.equal(toeplitz.convolved(conv, x), conv(x)[:, :, 0])
    assert not products
