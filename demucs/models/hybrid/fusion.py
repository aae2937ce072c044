"""Combination of the waveform estimates of several branches."""

import typing as tp

import torch
from torch import nn


class Fusion(nn.Module):
    """Base class of combinations of estimates [B, S, A, L], by name of branch, to one estimate [B, S, A, L].

    With `at_unit_level` the estimates are divided by the standard deviation of the mixture before the fusion, and the
    result is multiplied by it. Then silence stays silence and the result scales with the input, even if the fusion adds
    an offset.
    """

    at_unit_level = False

    def forward(self, estimates: tp.Mapping[str, torch.Tensor]) -> torch.Tensor:
        raise NotImplementedError


class Sum(Fusion):
    """Sum of the estimates of all branches."""

    def forward(self, estimates: tp.Mapping[str, torch.Tensor]) -> torch.Tensor:
        first, *rest = estimates.values()
        for estimate in rest:
            first = first + estimate
        return first
