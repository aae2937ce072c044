"""Local attention: against its formula, in pieces and at once, and in training."""

import copy
import math

import pytest
import torch

from demucs.layers import attention
from demucs.layers.attention import LocalAttention


def sharp(channels):
    torch.manual_seed(0)
    layer = LocalAttention(channels, heads=2, ndecay=3)
    for conv, gain in ((layer.query, 5), (layer.key, 5), (layer.query_decay, 50)):
        conv.weight.data *= gain
    return layer


def by_the_formula(layer, x):
    """Published: a score per decay and distance, summed."""
    batch, channels, steps = x.shape
    parts = [conv(x).view(batch, layer.heads, -1, steps) for conv in (layer.query, layer.key, layer.content)]
    rates = layer.query_decay(x).view(batch, layer.heads, -1, steps).sigmoid() / 2
    scores = torch.einsum("bhcq,bhck->bhqk", parts[0], parts[1]) / math.sqrt(parts[1].shape[2])
    distance = (torch.arange(steps)[:, None] - torch.arange(steps)).abs()
    decays = torch.arange(1, layer.ndecay + 1).to(x)
    kernel = -decays[:, None, None] * distance / math.sqrt(layer.ndecay)
    scores = scores + torch.einsum("fqk,bhfq->bhqk", kernel, rates)
    scores = scores.masked_fill(torch.eye(steps, dtype=torch.bool), -100)
    attended = torch.einsum("bhqk,bhck->bhcq", scores.softmax(-1), parts[2])
    return x + layer.proj(attended.reshape(x.shape))


@pytest.mark.parametrize("size", [attention.SCORES, 2 * 2 * 4 * 37 * 5, 1], ids=["all", "five", "one"])
def test_formula(size, monkeypatch):
    monkeypatch.setattr(attention, "SCORES", size)
    layer = sharp(8)
    x = torch.randn(2, 8, 37)
    with torch.no_grad():
        truth = by_the_formula(copy.deepcopy(layer).double(), x.double())
        assert (layer(x) - truth).abs().max() <= 1e-6 * truth.abs().max()


def test_gradients():
    layer, x = sharp(8).double(), torch.randn(2, 8, 37, dtype=torch.double)
    gradients = []
    for function in (layer, lambda x: by_the_formula(layer, x)):
        layer.zero_grad()
        given = x.clone().requires_grad_()
        function(given).square().sum().backward()
        gradients.append([given.grad, *(p.grad.clone() for p in layer.parameters())])
    for ours, truth in zip(*gradients):
        assert (ours - truth).abs().max() <= 1e-9


def test_distances_in_bfloat16_are_still_whole_numbers():
    layer = sharp(8)
    x = torch.randn(1, 8, 700)
    with torch.no_grad():
        truth = layer(x)
        with torch.autocast("cpu", torch.bfloat16):
            y = layer(x)
    assert (y - truth).abs().max() <= 0.05 * truth.abs().max()
