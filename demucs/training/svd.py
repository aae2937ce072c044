"""Penalty on the largest singular value of each large layer (Défossez 2021, section 3.4, after Yoshida and Miyato 2017).

A hybrid model amplifies what it was not trained on unless its layers are kept from growing.
"""

import dataclasses

import torch
from torch import nn

from .lowrank import largest_singular_squared

FLOATS_PER_MB = 2 ** 18
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d)


@dataclasses.dataclass(frozen=True)
class SvdSettings:
    """The `svd` section of the configuration.

    Args:
        penalty: weight in the loss; 0 for none.
        min_size: smallest layer to count, in MB of float32.
        dim, niters: rank and iterations of the randomised SVD; with `powm`, iterations of the power method.
        powm: power method with `bs` starting points instead of the randomised SVD.
        proba: probability that a step has the penalty, which is then divided by it.
        conv_only: leave out matrices, that is LSTM and linear layers.
        convtr: treat the weights of transposed convolutions, whose first axis is the input, the right way round.
    """
    penalty: float
    min_size: float
    dim: int
    niters: int
    powm: bool
    proba: float
    conv_only: bool
    convtr: bool
    bs: int


def _matrices(model: nn.Module, settings: SvdSettings):
    """The weights to penalise as matrices, output channels first."""
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            if parameter.numel() / FLOATS_PER_MB < settings.min_size or parameter.dim() == 1:
                continue
            if parameter.dim() == 2 and settings.conv_only:
                continue
            if settings.convtr and isinstance(module, TRANSPOSED):
                parameter = parameter.transpose(0, 1)
            yield parameter.reshape(len(parameter), -1)


def _power_method(matrix: torch.Tensor, iterations: int, starts: int) -> torch.Tensor:
    """Largest eigenvalue of the smaller Gram matrix, averaged over random starts."""
    gram = matrix @ matrix.t() if matrix.shape[0] < matrix.shape[1] else matrix.t() @ matrix
    vectors = torch.randn(len(gram), starts, device=gram.device, dtype=gram.dtype)
    for _ in range(iterations):
        images = gram @ vectors
        norms = images.norm(dim=0, keepdim=True)
        vectors = images / (1e-10 + norms)
    return norms.mean()


def svd_penalty(model: nn.Module, settings: SvdSettings) -> torch.Tensor:
    """Sum over large layers of the squared largest singular value, estimated. Differentiable.

    Draws from torch's global generator: call it under `dsp.randomness.seeded_torch`, with a key that is the same on all
    ranks.
    """
    total = torch.zeros((), device=next(model.parameters()).device)
    for matrix in _matrices(model, settings):
        if settings.powm:
            total = total + _power_method(matrix, settings.niters, settings.bs)
        else:
            total = total + largest_singular_squared(matrix, columns=settings.dim, iterations=settings.niters)
    return total / settings.proba


@torch.no_grad()
def exact_svd_penalty(model: nn.Module, settings: SvdSettings) -> float:
    """The same by full decomposition, scaled alike. For the validation log."""
    largest = [torch.linalg.matrix_norm(matrix, 2).square().item() for matrix in _matrices(model, settings)]
    return sum(largest) / settings.proba
