"""Residual branch of Demucs layers: dilated convolutions with few channels (Défossez 2021, section 3.3)."""

import dataclasses

import torch
from torch import nn

from .attention import LocalAttention
from .recurrent import BLSTM

KERNEL = 3


@dataclasses.dataclass(frozen=True)
class DConvSpec:
    """Settings of a residual branch: number of layers (a negative `depth` means -`depth` layers without dilation),
    factor `compress` by which the channels are reduced, initial value `init` of the gains, and whether each layer has
    attention and an LSTM."""
    depth: int = 2
    compress: float = 4
    init: float = 1e-4
    attention: bool = False
    lstm: bool = False


class LayerScale(nn.Module):
    """Learned gain per channel for [..., C, T], with the initial value `init` near zero, so that a deep residual stack
    is initially near the identity (Touvron et al. 2021, "Going deeper with image transformers")."""

    def __init__(self, channels: int, init: float):
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels,), float(init)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale[:, None] * x


class DConv(nn.Module):
    """Stack of residual layers [B, C, T] -> [B, C, T]: each layer f maps x to x + f(x), where f reduces to C / compress
    channels and expands to C again.

    The optional LSTM and attention are between the two convolutions, on C / compress channels.

    Raises ValueError if `spec.compress` leaves no channel.
    """

    def __init__(self, channels: int, spec: DConvSpec):
        super().__init__()
        self.spec = spec
        hidden = int(channels / spec.compress)
        if hidden < 1:
            raise ValueError(f"dconv_comp={spec.compress:g} leaves no channel of {channels}; lower it, or add channels")
        self.layers = nn.ModuleList()
        for index in range(abs(spec.depth)):
            dilation = 2 ** index if spec.depth > 0 else 1
            compress = nn.Conv1d(channels, hidden, KERNEL, dilation=dilation, padding=dilation * (KERNEL // 2))
            expand = nn.Conv1d(hidden, 2 * channels, 1)
            # Initial weights are drawn in the published order: both convolutions, attention, LSTM.
            attention = [LocalAttention(hidden)] if spec.attention else []
            lstm = [BLSTM(hidden, layers=2, max_steps=200, skip=True)] if spec.lstm else []
            self.layers.append(nn.Sequential(
                compress, nn.GroupNorm(1, hidden), nn.GELU(), *lstm, *attention,
                expand, nn.GroupNorm(1, 2 * channels), nn.GLU(1), LayerScale(channels, spec.init)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = x + layer(x)
        return x
