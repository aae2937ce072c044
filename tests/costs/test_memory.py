"""Memory of activations without data: by hand for small layers, and attention without a matrix of scores."""

import torch
from torch import nn
from torch.nn import functional as F

from demucs.costs import count


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8, device="meta"))

    def forward(self, x):
        return F.scaled_dot_product_attention(x * self.weight, x, x)


def test_layers_by_hand():
    """Two layers with 1 MiB between them: in inference one result lives beside its input, in training all that the
    backward pass needs."""
    layers = nn.Sequential(nn.Linear(256, 256, device="meta"), nn.GELU(), nn.Linear(256, 256, device="meta"))
    x = torch.empty(1024, 256, device="meta")
    mib = 2 ** 20
    assert count._inference(layers, x) == 2 * mib
    assert 3 * mib <= count._training(layers, x) <= 5 * mib


def test_attention_takes_no_matrix_of_scores():
    own = F.scaled_dot_product_attention
    x = torch.empty(1, 2, 4096, 8, device="meta")
    size = x.numel() * 4
    assert count._inference(Attention(), x) <= 2.5 * size < 2 * 4096 ** 2
    assert 2 * size < count._training(Attention(), x) <= 7 * size
    assert F.scaled_dot_product_attention is own
