"""Matrix products through convolutions, against torch's own in double precision."""

import pytest
import torch
from torch.nn import functional as F

from demucs.layers.cpu import products


@pytest.mark.parametrize("shape", [(1, 700, 48), (2, 3, 211, 32), (1025, 24)])
@pytest.mark.parametrize("biased", [True, False])
def test_linear(shape, biased):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(shape), torch.randn(31, shape[-1]), torch.randn(31) if biased else None
    truth = F.linear(x.double(), weight.double(), None if bias is None else bias.double())
    with torch.no_grad():
        assert products._faster(x)
        y = products.linear(x, weight, bias)
        strided = products.linear(x.transpose(-1, -2).contiguous().transpose(-1, -2), weight, bias)
    assert y.shape == truth.shape
    assert max((y - truth).abs().max(), (strided - truth).abs().max()) <= 1e-6 * truth.abs().max()


@pytest.mark.parametrize("queries, keys", [(300, 300), (1500, 90), (211, 1000)])
def test_attention(queries, keys, monkeypatch):
    monkeypatch.setattr(products, "SCORES", 100 * 1000)
    monkeypatch.setattr(products, "SMALL", 1000)
    torch.manual_seed(0)
    parts = [torch.randn(2, size, 3 * 16).unflatten(-1, (3, 16)).transpose(1, 2) for size in (queries, keys, keys)]
    truth = F.scaled_dot_product_attention(*(2 * part.double() for part in parts))
    with torch.no_grad():
        assert products._faster(parts[0])
        y = products.attention(*(2 * part for part in parts))
    assert y.shape == truth.shape
    assert (y - truth).abs().max() <= 2e-6 * truth.abs().max()


def test_layer_has_the_parameters_of_torch_and_trains():
    torch.manual_seed(0)
    ours = products.Linear(48, 31)
    torch.manual_seed(0)
    theirs = torch.nn.Linear(48, 31)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters()))
    x = torch.randn(700, 48)
    for layer in (ours, theirs):
        layer(x).square().mean().backward()
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(ours.parameters(), theirs.parameters()))


def test_training_other_types_and_small_factors_stay_with_torch(monkeypatch):
    convolved = []
    convolution = F.conv2d
    monkeypatch.setattr(F, "conv2d", lambda *args, **settings: (convolved.append(1), convolution(*args, **settings))[1])
    x, weight = torch.randn(700, 48), torch.randn(31, 48)
    products.linear(x, weight)
    with torch.no_grad():
        products.linear(x[:10], weight)
        products.linear(x.double(), weight.double())
        with torch.autocast("cpu", torch.bfloat16):
            assert products.linear(x, weight).dtype == torch.bfloat16
        assert not convolved
        products.linear(x, weight)
        assert convolved


def test_attention_of_bfloat16_is_computed_in_float32():
    torch.manual_seed(0)
    parts = [3 * torch.randn(1, 2, 700, 32, dtype=torch.bfloat16) for _ in range(3)]
    truth = F.scaled_dot_product_attention(*(part.double() for part in parts))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        y = products.attention(*parts)
    assert y.dtype == torch.bfloat16
    assert (y - truth).abs().max() <= 2 ** -8 * truth.abs().max()          # one rounding, of the result
