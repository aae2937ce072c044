"""The squared largest singular value and its gradient, against autograd through torch.svd_lowrank in float64."""

import contextlib

import pytest
import torch
from torch import nn

from demucs.dsp.eager import as_on_other_devices
from demucs.dsp.randomness import seeded_torch
from demucs.training.distributed import Group
from demucs.training.lowrank import largest_singular_squared
from demucs.training.svd import SvdSettings, exact_svd_penalty, shared_svd_penalty, svd_penalty

COLUMNS = 20


def matrix(rows, columns, spectrum):
    """With singular values that are equal but for chance ("flat"), fall, or are zero from the eighth on ("rank")."""
    draw = torch.Generator().manual_seed(1)
    dense = torch.randn(rows, columns, generator=draw)
    left, values, right = torch.linalg.svd(dense, full_matrices=False)
    order = torch.arange(1, len(values) + 1)
    scale = {"flat": values, "falling": 10. / order, "steep": 10. / order ** 3, "rank": 10. / order * (order < 8)}
    return (left * scale[spectrum]) @ right


def with_gradient(function, wide):
    wide = wide.clone().requires_grad_()
    torch.manual_seed(2)
    value = function(wide)
    return value.detach(), torch.autograd.grad(3 * value, wide)[0]


def ours(iterations):
    return lambda wide: largest_singular_squared(wide, columns=COLUMNS, iterations=iterations)


def through_torch(iterations, monkeypatch):
    """torch's, in the type of its matrix, from the random numbers that float32 gets."""
    plain = torch.randn
    monkeypatch.setattr(torch, "randn", lambda *size, dtype, device: plain(*size, device=device).to(dtype))
    return lambda wide: torch.svd_lowrank(wide, COLUMNS, iterations)[1][0].square()


@pytest.mark.parametrize("shape", [(40, 300), (300, 40), (120, 100), (12, 90)])
@pytest.mark.parametrize("spectrum", ["flat", "falling", "steep"])
@pytest.mark.parametrize("iterations", [0, 1, 4])
def test_value_and_gradient_as_through_svd_lowrank(shape, spectrum, iterations, monkeypatch):
    wide = matrix(*shape, spectrum)
    value, gradient = with_gradient(ours(iterations), wide)
    expected, slope = with_gradient(through_torch(iterations, monkeypatch), wide.double())
    assert abs(value - expected) <= 1e-5 * expected
    # Float32 leaves about 1e-5 between near singular values; without the terms of the residual it would be far more.
    assert (gradient - slope).norm() <= 1e-4 * slope.norm()


def test_terms_of_the_residual_matter(monkeypatch):
    wide = matrix(120, 100, "flat")
    _, slope = with_gradient(through_torch(1, monkeypatch), wide.double())
    left, values, right = torch.linalg.svd(wide.double(), full_matrices=False)
    converged = 3 * 2 * values[0] * torch.outer(left[:, 0], right[0])
    assert (converged - slope).norm() > 0.1 * slope.norm()


@pytest.mark.parametrize("shape", [(40, 300), (120, 100)])
def test_matrix_of_few_dimensions_has_the_exact_gradient(shape):
    """There the decompositions are singular: autograd through them gives anything, up to not a number."""
    wide = matrix(*shape, "rank")
    value, gradient = with_gradient(ours(4), wide)
    left, values, right = torch.linalg.svd(wide.double(), full_matrices=False)
    exact = 3 * 2 * values[0] * torch.outer(left[:, 0], right[0])
    assert abs(value - values[0] ** 2) <= 1e-5 * value
    assert (gradient - exact).norm() <= 1e-5 * exact.norm()


def test_matrix_of_zeros_has_no_gradient():
    value, gradient = with_gradient(ours(2), torch.zeros(60, 30))
    assert value == 0 and torch.equal(gradient, torch.zeros(60, 30))


@pytest.mark.parametrize("shape", [(40, 300), (300, 40), (12, 90)])
@pytest.mark.parametrize("spectrum", ["flat", "falling", "steep", "rank"])
def test_squared_gram_matrices_of_other_devices_as_decompositions(shape, spectrum):
    wide = matrix(*shape, spectrum)
    expected, slope = with_gradient(ours(2), wide)
    with as_on_other_devices():
        value, gradient = with_gradient(ours(2), wide)
        nothing, flat = with_gradient(ours(2), torch.zeros(*shape))
    assert abs(value - expected) <= 2e-6 * expected
    assert (gradient - slope).norm() <= 1e-4 * slope.norm()
    assert nothing == 0 and not flat.any()


def test_equal_singular_values_have_their_value_and_a_gradient_of_their_space():
    with as_on_other_devices():
        value, gradient = with_gradient(ours(2), 3 * torch.eye(30, 12))
    assert abs(value - 9) <= 1e-5 and abs(gradient.norm() - 3 * 2 * 3) <= 1e-4 and torch.isfinite(gradient).all()


def penalties(world_size, powm=False):
    """(penalty, its gradient, exact penalty) of a small network, as the means over `world_size` ranks."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(6, 40, 5), nn.ConvTranspose1d(40, 24, 3), nn.Linear(50, 60), nn.Linear(30, 70))
    settings = SvdSettings(penalty=1., min_size=0.001, dim=8, niters=1, powm=powm, proba=0.5, conv_only=False,
                           convtr=True, bs=2)
    total = 0.
    for rank in range(world_size):
        total = total + shared_svd_penalty(model, settings, Group(rank, world_size, torch.device("cpu")),
                                           lambda place: seeded_torch(1, "svd", place)) / world_size
    gradients = torch.autograd.grad(total, [layer.weight for layer in model])

    class Ranks(Group):
        def sum(self, values):
            return values
    exact = sum(exact_svd_penalty(model, settings, Ranks(rank, world_size, torch.device("cpu")))
                for rank in range(world_size))
    return total.detach(), torch.cat([gradient.flatten() for gradient in gradients]), exact, (model, settings)


@pytest.mark.parametrize("powm", [False, True])
@pytest.mark.parametrize("elsewhere", [contextlib.nullcontext, as_on_other_devices])
def test_shares_of_ranks_add_up_to_the_penalty(powm, elsewhere):
    """The same draws, values and gradients for any number of ranks, more than there are layers, too."""
    with elsewhere():
        alone, slope, exact, (model, settings) = penalties(1, powm)
        for world_size in (3, 7):
            value, gradient, *_ = penalties(world_size, powm)
            assert abs(value - alone) <= 1e-6 * alone and (gradient - slope).norm() <= 1e-6 * slope.norm()
        if elsewhere is as_on_other_devices:
            assert abs(penalties(3, powm)[2] - exact) <= 1e-6 * exact
    assert abs(exact - exact_svd_penalty(model, settings)) <= 1e-5 * exact
    with seeded_torch(1, "svd", 0):
        assert 0.9 * exact < svd_penalty(model, settings) < 1.1 * exact or powm
