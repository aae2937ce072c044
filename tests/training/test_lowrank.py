"""The squared largest singular value and its gradient, against autograd through torch.svd_lowrank in float64."""

import pytest
import torch

from demucs.training.lowrank import largest_singular_squared

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
