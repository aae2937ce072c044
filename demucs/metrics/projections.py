"""Energies of BSSEval's least-squares projections, computed without the projected signals.

A projection is the best approximation of an estimate by filtered references, with filters of `TAPS` taps from every
reference channel to every channel of the estimate, by least squares over the whole track (E. Vincent, R. Gribonval,
C. Févotte, IEEE TASLP 14(4), 2006; A. Liutkus, F.-R. Stöter, N. Ito, LVA/ICA 2018). Three properties make it fast:

- The normal equations need correlations at lags 0 to TAPS - 1 only. They are summed block by block: within a block of B
  samples, padded to B + TAPS - 1, circular correlation equals linear correlation at these lags.
- All estimates share one matrix of normal equations, which is symmetric and positive definite. It is factorised once,
  and each estimate is one more right-hand side. The filters from a source's own reference use a diagonal block of it.
- museval filters each frame independently, from silence, and only the energies of the results are needed. By Parseval's
  theorem they are sums over the spectra of the padded frame, where filtering is a small matrix product per frequency.
"""

import dataclasses
import typing as tp

import numpy as np
import torch

TAPS = 512
BLOCK = 2 ** 13 - TAPS + 1       # a power of two when padded
BLOCKS_AT_ONCE = 4
FRAMES_AT_ONCE = 8
BINS_AT_ONCE = 2048
ITERATIONS = 5        # of the power method: an order of magnitude suffices


@dataclasses.dataclass(frozen=True)
class Filters:
    """Least-squares filters from references to estimates.

    Args:
        joint: [S, A, S, A, TAPS], from (source, channel) of the references to (source, channel) of the estimates.
        own: [S, A, A, TAPS], from the channels of a source's reference to those of its own estimate.
        condition: reciprocal condition number of the normal equations (smallest over largest eigenvalue); 0 if they are
            singular within rounding. The filters are noise if it is near the precision of float64.
    """
    joint: torch.Tensor
    own: torch.Tensor
    condition: float


def correlations(references: torch.Tensor, estimates: torch.Tensor) -> torch.Tensor:
    """Correlations sum_n r_i(n) x_k(n + l) for lags l in [0, TAPS): [I, I + K, TAPS] float64, where x are all
    references followed by all estimates. Inputs are [I, L] and [K, L]; samples outside of them are zero."""
    count, length = references.shape
    every = count + len(estimates)
    size = BLOCK + TAPS - 1
    bins = size // 2 + 1
    real = {"dtype": torch.float64, "device": references.device}
    cplx = {"dtype": torch.complex128, "device": references.device}
    total = torch.zeros(bins, count, every, **cplx)
    # Buffers are allocated once: allocation in every iteration would take longer than the computation.
    padded = torch.zeros(every, BLOCKS_AT_ONCE, size, **real)
    spectra = torch.empty(every, BLOCKS_AT_ONCE, bins, **cplx)
    first, later = torch.empty(bins, count, BLOCKS_AT_ONCE, **cplx), torch.empty(bins, BLOCKS_AT_ONCE, every, **cplx)
    for begin in range(0, length, BLOCK * BLOCKS_AT_ONCE):
        for index in range(BLOCKS_AT_ONCE):
            start = min(begin + index * BLOCK, length)
            available = min(size, length - start)
            padded[:count, index, :available] = references[:, start:start + available]
            padded[count:, index, :available] = estimates[:, start:start + available]
            padded[:, index, available:] = 0
        later.copy_(torch.fft.rfft(padded, out=spectra).permute(2, 1, 0))
        padded[:count, :, BLOCK:] = 0
        first.copy_(torch.fft.rfft(padded[:count], out=spectra[:count]).permute(2, 0, 1).conj())
        torch.baddbmm(total, first, later, out=total)
    return torch.fft.irfft(total.permute(1, 2, 0), n=size)[..., :TAPS]


def least_squares_filters(references: torch.Tensor, estimates: torch.Tensor) -> Filters:
    """Least-squares filters from references [S, A, L] to estimates [S, A, L] of whole tracks: those from all
    references, and those from the source's own reference alone. Computed in float64 on their device."""
    sources, channels, _ = references.shape
    count = sources * channels
    lags = correlations(references.flatten(0, 1), estimates.flatten(0, 1))
    among, across = lags[:, :count], lags[:, count:]
    # Row: a reference delayed by a. Column: another reference delayed by b. Their product depends on a - b.
    both_ways = torch.cat([among.transpose(0, 1)[..., 1:].flip(-1), among], dim=-1)
    matrix = both_ways.unfold(-1, TAPS, 1).flip(-1).transpose(1, 2).reshape(count * TAPS, count * TAPS)
    matrix.diagonal().add_(torch.finfo(torch.float64).eps)          # as museval regularises them
    target = across.transpose(1, 2).reshape(count * TAPS, count)
    joint, condition = _solve(matrix, target)
    own = []
    for source in range(sources):
        rows = slice(source * channels * TAPS, (source + 1) * channels * TAPS)
        columns = slice(source * channels, (source + 1) * channels)
        filters, _ = _solve(matrix[rows, rows], target[rows, columns])
        own.append(filters.unflatten(0, (channels, TAPS)).transpose(1, 2))
    joint = joint.unflatten(0, (sources, channels, TAPS)).unflatten(-1, (sources, channels))
    return Filters(joint=joint.movedim(2, -1), own=torch.stack(own), condition=condition)


def _solve(matrix: torch.Tensor, target: torch.Tensor) -> tp.Tuple[torch.Tensor, float]:
    """Solution of normal equations, and their `Filters.condition`."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if not failed:
        return torch.cholesky_solve(target, factor), _condition(matrix, factor)
    # Not positive definite within rounding: references are linearly dependent. As in museval:
    solution, failed = torch.linalg.solve_ex(matrix, target)
    if failed:
        solution = torch.from_numpy(np.linalg.lstsq(matrix.cpu().numpy(), target.cpu().numpy(), rcond=None)[0]
                                    ).to(target)
    return solution, 0.


def _condition(matrix: torch.Tensor, factor: torch.Tensor) -> float:
    """Ratio of the smallest to the largest eigenvalue of a positive definite matrix, by power iteration with the matrix
    and with its inverse."""
    start = torch.ones(len(matrix), 1, dtype=matrix.dtype, device=matrix.device)
    start[1::2] = -1
    start[::7] *= 2                  # any vector that is no eigenvector of a Toeplitz matrix
    large = small = start / start.norm()
    for _ in range(ITERATIONS):
        large, small = matrix @ large, torch.linalg.solve_triangular(factor, small, upper=False)
        small = torch.linalg.solve_triangular(factor.mT, small, upper=True)
        largest, inverse = large.norm(), small.norm()
        large, small = large / largest, small / inverse
    return float(1 / (largest * inverse))


class Energies(tp.NamedTuple):
    """Sums of squares [frames, S] over the channels of each frame and source, including the decay of the filters after
    the frame.

    `spatial` is the estimate as predicted from the source's own reference, `explained` as predicted from all
    references.
    """
    own_error: torch.Tensor          # |spatial - reference|^2
    own: torch.Tensor                # |spatial|^2
    interference: torch.Tensor       # |explained - spatial|^2
    explained: torch.Tensor          # |explained|^2
    artifacts: torch.Tensor          # |estimate - explained|^2


def frame_energies(references: torch.Tensor, estimates: torch.Tensor, filters: Filters, *, frame: int) -> Energies:
    """Energies of the parts of each estimate, in each complete frame of `frame` samples, from references and estimates
    [S, A, L] and the filters between them. Each frame is filtered independently, as if the signal were zero around
    it."""
    sources, channels, length = references.shape
    every = sources * channels
    frames = length // frame
    size = _fast_size(frame + TAPS - 1)
    bins = size // 2 + 1
    joint = torch.fft.rfft(filters.joint, n=size).flatten(2, 3).flatten(0, 1).permute(2, 1, 0).contiguous()
    own = torch.fft.rfft(filters.own, n=size).permute(3, 0, 2, 1).contiguous()
    # joint: [bins, out, in], own: [bins, S, out, in]
    real = {"dtype": torch.float64, "device": references.device}
    cplx = {"dtype": torch.complex128, "device": references.device}
    # Parseval's theorem: each bin of a real signal's half spectrum counts twice, except the first and the last one.
    weight = torch.full((bins,), (2 / size) ** 0.5, **real)
    weight[0] = weight[-1] = size ** -0.5
    # Buffers are allocated once: allocation in every iteration would take longer than the computation.
    padded = torch.zeros(sources, channels, FRAMES_AT_ONCE, size, **real)
    spectra = torch.empty(2, every, FRAMES_AT_ONCE, bins, **cplx)
    parts = torch.empty(4, min(BINS_AT_ONCE, bins), every, FRAMES_AT_ONCE, **cplx)
    result = torch.empty(len(Energies._fields), frames, sources, **real)
    for begin in range(0, frames, FRAMES_AT_ONCE):
        count = min(FRAMES_AT_ONCE, frames - begin)
        for index, wav in enumerate((references, estimates)):
            padded[..., :count, :frame] = wav[..., begin * frame:(begin + count) * frame].unflatten(-1, (count, frame))
            torch.fft.rfft(padded.flatten(0, 1), out=spectra[index]).mul_(weight)
        sums = torch.zeros(len(result), every * FRAMES_AT_ONCE * 2, **real)
        for low in range(0, bins, BINS_AT_ONCE):
            some = slice(low, min(bins, low + BINS_AT_ONCE))
            # [bins, S A, frames]
            reference, estimate, explained, spatial = (part[:some.stop - low] for part in parts)
            reference.copy_(spectra[0, ..., some].permute(2, 0, 1))
            estimate.copy_(spectra[1, ..., some].permute(2, 0, 1))
            torch.bmm(joint[some], reference, out=explained)
            torch.matmul(own[some], reference.unflatten(1, (sources, channels)),
                         out=spatial.unflatten(1, (sources, channels)))
            estimate -= explained
            reference -= spatial
            for index, part in ((0, reference), (1, spatial), (3, explained), (4, estimate)):
                sums[index] += _squares(part)
            explained -= spatial
            sums[2] += _squares(explained)
        own_sums = sums.view(-1, sources, channels, FRAMES_AT_ONCE, 2).sum((2, 4))
        result[:, begin:begin + count] = own_sums[..., :count].transpose(1, 2)
    return Energies(*result)


def _squares(spectra: torch.Tensor) -> torch.Tensor:
    """Sums of squares over bins: complex [bins, ...] -> real [product of all other sizes, times 2 (real and
    imaginary)]."""
    numbers = torch.view_as_real(spectra).flatten(1)
    return torch.linalg.vecdot(numbers, numbers, dim=0)


def _fast_size(least: int) -> int:
    """Smallest even number >= `least` without prime factors above 5."""
    size = least + least % 2
    while True:
        rest = size
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return size
        size += 2
