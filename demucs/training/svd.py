"""Penalty on the largest singular value of each large layer (Défossez 2021, section 3.4, after Yoshida and Miyato
2017).

Without a limit on the growth of its layers, a hybrid model amplifies inputs unlike its training data.
"""

import dataclasses

import torch
from torch import nn

from .lowrank import largest_singular_squared

FLOATS_PER_MIB = 2 ** 18
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d)


@dataclasses.dataclass(frozen=True)
class SvdSettings:
    """Settings of the penalty on singular values: section `svd` of the configuration.

    Args:
        penalty: weight in the loss; 0 for none.
        min_size: size of the smallest layer to penalise, in MiB of float32.
        dim, niters: rank and iterations of the randomised SVD; with `powm`, `niters` iterations of the power method.
        powm: power method with `bs` starting points instead of the randomised SVD.
        proba: probability that a step has the penalty, which is then divided by it.
        conv_only: leave out matrices, that is LSTM and linear layers.
        convtr: transpose the weights of transposed convolutions, whose first axis is the input.
        bs: number of starting points of the power method.
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
    """The weights to penalise, as matrices [output channels, all other axes]."""
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            if parameter.numel() / FLOATS_PER_MIB < settings.min_size or parameter.dim() < 2:
                continue
            if parameter.dim() == 2 and settings.conv_only:
                continue
            if settings.convtr and isinstance(module, TRANSPOSED):
                parameter = parameter.transpose(0, 1)
            yield parameter.reshape(len(parameter), -1)


def _power_method(matrix: torch.Tensor, iterations: int, starts: int) -> torch.Tensor:
    """Largest eigenvalue of the smaller Gram matrix, averaged over `starts` random initial vectors."""
    gram = matrix @ matrix.t() if matrix.shape[0] < matrix.shape[1] else matrix.t() @ matrix
    vectors = torch.randn(len(gram), starts, device=gram.device, dtype=gram.dtype)
    for _ in range(iterations):
        images = gram @ vectors
        norms = images.norm(dim=0, keepdim=True)
        vectors = images / (1e-10 + norms)
    return norms.mean()


def svd_penalty(model: nn.Module, settings: SvdSettings) -> torch.Tensor:
    """Estimate of the sum over large layers of the squared largest singular value, divided by `settings.proba`: a
    scalar, differentiable once. The factor `settings.penalty` is not included.

    Draws from torch's global generator: call it inside `dsp.randomness.seeded_torch`, with a key that is the same on
    all ranks.
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
    """Exact value of what `svd_penalty` estimates, by full decomposition, also divided by `settings.proba`. For the
    record of an epoch."""
    largest = [torch.linalg.matrix_norm(matrix, 2).square().item() for matrix in _matrices(model, settings)]
    return sum(largest) / settings.proba
