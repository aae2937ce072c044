"""How the waveform estimates of several branches become one."""

import typing as tp

import torch
from torch import nn


class Sum(nn.Module):
    """K estimates [B, S, A, L] -> their sum: each branch explains what the others leave over."""

    def forward(self, estimates: tp.Sequence[torch.Tensor]) -> torch.Tensor:
        total = estimates[0]
        for estimate in estimates[1:]:
            total = total + estimate
        return total
