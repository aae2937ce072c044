"""Rescaling of initial weights, shared by all of Demucs (Défossez et al. 2019, section 5.2)."""

import torch
from torch import nn


def rescale_convolutions(module: nn.Module, reference: float) -> None:
    """Bring the weights of every convolution in `module` towards standard deviation `reference`, half way in log scale:
    weight and bias are divided by sqrt(std / reference)."""
    with torch.no_grad():
        for sub in module.modules():
            if isinstance(sub, (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)):
                scale = (sub.weight.std() / reference) ** 0.5
                sub.weight /= scale
                if sub.bias is not None:
                    sub.bias /= scale
