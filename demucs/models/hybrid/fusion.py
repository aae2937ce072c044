"""Combination of the waveform estimates of several branches."""

import typing as tp

import torch
from torch import nn


class Fusion(nn.Module):
    """Base class of modules that combine the estimates of all branches, {name of branch: [B, S, A, L]}, to one [B, S,
    A, L].

    With `at_unit_level` the model divides the estimates by the standard deviation of the mixture before the fusion, and
    multiplies the result by it. Then silence stays silence and the result scales with the input, even if the fusion
    adds an offset.
    """

    at_unit_level = False

    def forward(self, estimates: tp.Mapping[str, torch.Tensor]) -> torch.Tensor:
        raise NotImplementedError


class Sum(Fusion):
    """Fusion by the sum of the estimates of all branches."""

    def forward(self, estimates: tp.Mapping[str, torch.Tensor]) -> torch.Tensor:
        first, *rest = estimates.values()
        for estimate in rest:
            first = first + estimate
        return first
