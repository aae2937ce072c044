"""Penalty on the largest singular value of each large layer (Défossez 2021, section 3.4, after Yoshida and Miyato
2017).

Without a limit on the growth of its layers, a hybrid model amplifies inputs unlike its training data.
"""

import dataclasses
import typing as tp

import torch
from torch import nn

from ..dsp.eager import eager_on_cpu
from .distributed import Group
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


def _estimate(matrix: torch.Tensor, settings: SvdSettings) -> torch.Tensor:
    if settings.powm:
        return _power_method(matrix, settings.niters, settings.bs)
    return largest_singular_squared(matrix, columns=settings.dim, iterations=settings.niters)


def svd_penalty(model: nn.Module, settings: SvdSettings) -> torch.Tensor:
    """Estimate of the sum over large layers of the squared largest singular value, divided by `settings.proba`: a
    scalar, differentiable once. The factor `settings.penalty` is not included.

    Draws from torch's global generator: call it inside `dsp.randomness.seeded_torch`, with a key that is the same on
    all ranks.
    """
    total = torch.zeros((), device=next(model.parameters()).device)
    for matrix in _matrices(model, settings):
        total = total + _estimate(matrix, settings)
    return total / settings.proba


def _own(matrices: tp.Iterable[torch.Tensor], group: Group) -> tp.Dict[int, torch.Tensor]:
    """The matrices that are this rank's to decompose, by their place among all of them. The largest ones are dealt
    first, so that all ranks have about as much to do."""
    everything = dict(enumerate(matrices))
    order = sorted(everything, key=lambda place: -everything[place].numel())
    return {place: everything[place] for place in order[group.rank::group.world_size]}


def shared_svd_penalty(model: nn.Module, settings: SvdSettings, group: Group,
                       seeded: tp.Callable[[int], tp.ContextManager[None]]) -> torch.Tensor:
    """As `svd_penalty`, but this rank's part of it times the number of ranks, so that the mean over ranks is the whole
    penalty, and with gradients that are averaged over ranks its gradient. `seeded(place)` is the context of the draws
    for the layer at that place, so that they do not depend on the number of ranks."""
    total = torch.zeros((), device=group.device)
    for place, matrix in _own(_matrices(model, settings), group).items():
        with seeded(place):
            total = total + _estimate(matrix, settings)
    return total * (group.world_size / settings.proba)


@torch.no_grad()
def exact_svd_penalty(model: nn.Module, settings: SvdSettings, group: tp.Optional[Group] = None) -> float:
    """Exact value of what `svd_penalty` estimates, by full decomposition, also divided by `settings.proba`. For the
    record of an epoch. On a GPU with a `group` it is from the eigenvalues of the smaller Gram matrices, which are
    decomposed by one rank each; a collective call then."""
    if group is None or eager_on_cpu(next(model.parameters())):
        largest = [torch.linalg.matrix_norm(matrix, 2).square().item() for matrix in _matrices(model, settings)]
        return sum(largest) / settings.proba
    total = torch.zeros((), device=group.device, dtype=torch.float64)
    for matrix in _own(_matrices(model, settings), group).values():
        wide = (matrix if matrix.shape[0] < matrix.shape[1] else matrix.t()).double()
        total += torch.linalg.eigvalsh(wide @ wide.t())[-1]
    return group.sum([total.item()])[0] / settings.proba
