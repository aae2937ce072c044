"""How the waveform estimates of several branches become one."""

import typing as tp

import torch
from torch import nn


class Fusion(nn.Module):
    """Estimates [B, S, A, L] by name of branch -> [B, S, A, L].

    With `at_unit_level` it sees them before the level of the mixture is restored: divided by its standard deviation, by which
    the result is multiplied again. Then silence stays silence, and the result follows the level of the input, whatever
    the fusion adds.
    """

    at_unit_level = False

    def forward(self, estimates: tp.Mapping[str, torch.Tensor]) -> torch.Tensor:
        raise NotImplementedError


class Sum(Fusion):
    """The sum: each branch explains what the others leave over."""

    def forward(self, estimates: tp.Mapping[str, torch.Tensor]) -> torch.Tensor:
        first, *rest = estimates.values()
        for estimate in rest:
            first = first + estimate
        return first
