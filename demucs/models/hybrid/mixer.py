"""What happens at the bottom of a hybrid model, between the way down and the way up."""

import typing as tp

import torch
from torch import nn

Pair = tp.Tuple[torch.Tensor, tp.Optional[torch.Tensor]]


class SkipsOnly(nn.Module):
    """HDemucs: the decoders start from zeros, and everything comes up through the skip connections."""

    def forward(self, spectral: torch.Tensor, temporal: tp.Optional[torch.Tensor]) -> Pair:
        return torch.zeros_like(spectral), None if temporal is None else torch.zeros_like(temporal)
