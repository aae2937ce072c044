"""The squared largest singular value of a matrix by randomised SVD, with an inexpensive gradient.

The value is that of `torch.svd_lowrank` (Halko, Martinsson and Tropp 2011, algorithms 4.4 and 5.1) for the same random
numbers. Let A be the matrix, transposed if it is wide; X_0 = A R for a random R; X_k = A^T Q_{k-1} for odd k and A
Q_{k-1} for even k; Q_k an orthonormal basis of the range of X_k; and P the projection onto the range of the last one.
The value is s^2 for the largest singular value s of P A, with singular vectors u and v.

Autograd differentiates every QR decomposition, with all columns of Q. Two facts make that unnecessary:

- u is in the range of P, so d(s^2) = 2 s (u^T dA v + u^T dP A v), and the second term is r^T dX c with the residual
  r = (I - P) A v and c such that X c = u: a product of vectors.
- A range does not depend on the choice of basis, so triangular factors are constants in the backward pass, and
  dX_k c = dA Q_{k-1} c + A dX_{k-1} R_{k-1}^{-1} c, again for one vector, with A transposed for odd k.

So the gradient is 2 s times a sum of outer products, one per iteration. The left vectors are orthogonal to the ranges;
projecting them again keeps rounding errors from growing along the large singular vectors.
"""

import typing as tp

import torch
from torch.autograd.function import once_differentiable

from ..dsp.eager import eager_on_cpu

NEGLIGIBLE = 1e-6     # residual relative to s below which it is a rounding error, and the term with dP is zero
SQUARINGS = 25        # singular values that differ by 1e-7 are told apart


def _largest(matrix: torch.Tensor) -> tp.Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Largest singular value of [m, n], a scalar, with its left vector [m, 1] and its right one [n].

    Decompositions check on the host whether they have converged, for which a GPU would have to be waited for. On other
    devices than CPUs, the Gram matrix is squared `SQUARINGS` times in float64, which is the power method with
    2 ** SQUARINGS iterations: only the space of the largest singular values is left.
    """
    if eager_on_cpu(matrix):
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        return values[0], left[:, :1], right[0]
    precise = matrix.double()
    gram = precise @ precise.t()
    for _ in range(SQUARINGS):
        gram = gram / gram.diagonal().sum().clamp(min=torch.finfo(gram.dtype).tiny)
        gram = gram @ gram
    column = gram.index_select(1, gram.diagonal().argmax().reshape(1))
    u = column / column.norm().clamp(min=torch.finfo(gram.dtype).tiny)
    v = (u.t() @ precise)[0]
    largest = v.norm()
    v = v / largest.clamp(min=torch.finfo(gram.dtype).tiny)
    return largest.to(matrix.dtype), u.to(matrix.dtype), v.to(matrix.dtype)


class _LargestSquared(torch.autograd.Function):

    @staticmethod
    def forward(ctx: tp.Any, matrix: torch.Tensor, columns: int, iterations: int) -> torch.Tensor:
        transposed = matrix.shape[0] < matrix.shape[1]
        tall = matrix.t() if transposed else matrix
        basis = torch.randn(tall.shape[1], columns, dtype=tall.dtype, device=tall.device)
        complete = columns >= tall.shape[1]         # one step spans the whole range: no iterations, no residual
        steps = []                                  # (applied matrix, its argument, Q and R of the product)
        for index in range(1 if complete else 2 * iterations + 1):
            applied = tall.t() if index % 2 else tall
            before = basis
            basis, triangle = torch.linalg.qr(applied @ before)
            steps.append((applied, before, basis, triangle))
        largest, coordinates, v = _largest(basis.t() @ tall)

        lefts, rights = [basis @ coordinates[:, 0]], [v]
        residual = tall @ v
        for index, (applied, before, basis, triangle) in reversed(list(enumerate([] if complete else steps))):
            residual = residual - basis @ (basis.t() @ residual)
            if index == len(steps) - 1:
                weight = (residual.norm() > NEGLIGIBLE * largest).to(residual)
                residual = residual * weight
            coordinates = torch.linalg.solve_triangular(triangle, coordinates, upper=True)
            # If the rank of the matrix is below the number of columns, the triangles are singular, and the weight is 0.
            image = torch.nan_to_num(before @ coordinates)[:, 0] * weight
            lefts.append(image if index % 2 else residual)
            rights.append(residual if index % 2 else image)
            residual = applied.t() @ residual
        ctx.transposed = transposed
        ctx.save_for_backward(2 * largest * torch.stack(lefts, dim=1), torch.stack(rights))
        return largest.square()

    @staticmethod
    @once_differentiable
    def backward(ctx: tp.Any, gradient: torch.Tensor) -> tp.Tuple[torch.Tensor, None, None]:
        lefts, rights = ctx.saved_tensors
        outer = (gradient * lefts) @ rights
        return (outer.t() if ctx.transposed else outer), None, None


def largest_singular_squared(matrix: torch.Tensor, *, columns: int, iterations: int) -> torch.Tensor:
    """Square of the largest singular value of a real matrix [m, n], a scalar: an estimate that is never larger than the
    exact value. Differentiable once.

    Uses `columns` random directions, and `iterations` of the power method on all of them. Draws from torch's global
    generator, as `torch.svd_lowrank` does.
    """
    return _LargestSquared.apply(matrix, columns, iterations)
