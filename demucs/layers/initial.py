"""Rescaling of initial weights, used by all Demucs models (Défossez et al. 2019, section 5.2)."""

import torch
from torch import nn


def rescale_convolutions(module: nn.Module, reference: float) -> None:
    """Divide weight and bias of every convolution in `module`, in place, by sqrt(std / reference), where std is the
    standard deviation of the weight. The new one is the geometric mean of std and `reference`."""
    with torch.no_grad():
        for sub in module.modules():
            if isinstance(sub, (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)):
                scale = (sub.weight.std() / reference) ** 0.5
                sub.weight /= scale
                if sub.bias is not None:
                    sub.bias /= scale
