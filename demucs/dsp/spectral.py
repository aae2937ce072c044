"""Short-time Fourier transforms of the Demucs family, and reflection padding.

Hann window, hop of a quarter window, centred frames, and 1/sqrt(n_fft) normalisation ("normalized" in torch), so that
the level of a spectrogram does not depend on the window length.
"""

import functools

import torch
from torch.nn import functional as F

from .constants import may_store
from .eager import eager_on_cpu


def stft(x: torch.Tensor, *, n_fft: int, hop: int) -> torch.Tensor:
    """Complex spectrogram [..., n_fft // 2 + 1, T] of real signals [..., L], with T = 1 + L // hop. Window, padding and
    normalisation are at the top of this module; both ends are padded by reflection, so L must exceed n_fft // 2."""
    z = torch.stft(x.reshape(-1, x.shape[-1]), n_fft, hop, window=hann_window(n_fft, x), win_length=n_fft,
                   normalized=True, center=True, return_complex=True, pad_mode="reflect")
    return z.view(*x.shape[:-1], *z.shape[-2:])


def istft(z: torch.Tensor, *, hop: int, length: int) -> torch.Tensor:
    """Real signals [..., length] of complex spectrograms [..., F, T]: the inverse of `stft`, with n_fft = 2 (F - 1).
    Longer signals are cut to `length`, shorter ones padded with zeros.

    With gradients on a CPU, and on other devices, signals and gradients are bit for bit those of torch.istft. That
    function checks its window on the host, where a GPU would have to be waited for, and which cannot be compiled.
    """
    n_fft, frames = 2 * (z.shape[-2] - 1), z.shape[-1]
    window = hann_window(n_fft, z.real)
    if not eager_on_cpu(z):
        signals = torch.fft.irfft(z.transpose(-1, -2), n=n_fft, norm="ortho") * window
        kept = slice(n_fft // 2, n_fft // 2 + length)
        x = _fold(signals, hop)[..., kept] / _envelope(n_fft, hop, frames, z.real)[kept]
        return F.pad(x, (0, length - x.shape[-1])) if x.shape[-1] < length else x
    # Signals one by one take less memory and time, as nothing is copied for all of them (benchmarks/bench_layers.py).
    weight = _overlap_add(window.square().expand(frames, n_fft), hop)
    signals = [_inverse(each, hop, window).div_(weight)[n_fft // 2:][:length] for each in z.reshape(-1, *z.shape[-2:])]
    return torch.stack([F.pad(x, (0, length - len(x))) for x in signals]).view(*z.shape[:-2], length)


def hann_window(n_fft: int, like: torch.Tensor) -> torch.Tensor:
    """Periodic Hann window [n_fft] of the type of `like`, made on its device."""
    if may_store(like):
        return _stored_window(n_fft, like.dtype, like.device)
    return torch.hann_window(n_fft, device=like.device).to(like.dtype)


@functools.lru_cache(maxsize=16)
def _stored_window(n_fft: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    with torch.inference_mode(False):       # such a tensor may also be saved for a backward pass
        return torch.hann_window(n_fft, device=device).to(dtype)


def _envelope(n_fft: int, hop: int, frames: int, like: torch.Tensor) -> torch.Tensor:
    """Sum of the squared windows of `frames` frames, [(frames - 1) * hop + n_fft], of the type of `like`, on its
    device."""
    if may_store(like):
        return _stored_envelope(n_fft, hop, frames, like.dtype, like.device)
    return _fold(hann_window(n_fft, like).square().expand(frames, n_fft), hop)


@functools.lru_cache(maxsize=4)             # 4 bytes a sample each
def _stored_envelope(n_fft: int, hop: int, frames: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    with torch.inference_mode(False):
        return _fold(_stored_window(n_fft, dtype, device).square().expand(frames, n_fft), hop)


def _fold(frames: torch.Tensor, hop: int) -> torch.Tensor:
    """Sum of frames [..., T, N] that start `hop` samples apart to [..., (T - 1) * hop + N], differentiable."""
    count, n_fft = frames.shape[-2:]
    if torch.compiler.is_compiling() and n_fft % hop == 0:
        # The compiler would write the operation below as sums at indices, which are slow, and on a GPU in any order.
        parts = n_fft // hop
        pieces = frames.unflatten(-1, (parts, hop)).unbind(-2)
        rows = sum(F.pad(piece, (0, 0, part, parts - 1 - part)) for part, piece in enumerate(pieces))
        return torch.as_tensor(rows).flatten(-2)
    size = [*frames.shape[:-2], (count - 1) * hop + n_fft]
    return torch.ops.aten.unfold_backward(frames, size, len(size) - 1, n_fft, hop)


def _inverse(z: torch.Tensor, hop: int, window: torch.Tensor) -> torch.Tensor:
    """Overlap-add of the inverse Fourier transforms of [F, T] frames, multiplied by the window, to
    [(T - 1) * hop + n_fft]."""
    return _overlap_add(torch.fft.irfft(z.t().contiguous(), n=len(window), norm="ortho").mul_(window), hop)


def magnitudes(x: torch.Tensor, *, n_fft: int, hop: int) -> torch.Tensor:
    """Magnitude spectrogram [..., n_fft // 2 + 1, T] of real signals [..., L] as in the training of Open-Unmix: without
    normalisation, and frames that are not centred, so that T = 1 + (L - n_fft) // hop and no sample is padded. A signal
    shorter than a frame is padded with zeros to one."""
    x = F.pad(x, (0, max(0, n_fft - x.shape[-1])))
    z = torch.stft(x.reshape(-1, x.shape[-1]), n_fft, hop, window=hann_window(n_fft, x), center=False,
                   return_complex=True)
    return z.abs().view(*x.shape[:-1], *z.shape[-2:])


def _overlap_add(frames: torch.Tensor, hop: int) -> torch.Tensor:
    """Sum of frames [T, N] that start `hop` samples apart, which divides N, to [(T - 1) * hop + N]."""
    rows = frames.new_zeros(len(frames) + frames.shape[1] // hop - 1, hop)
    add_frames(rows, frames, 0)
    return rows.flatten()


def add_frames(rows: torch.Tensor, frames: torch.Tensor, start: int) -> None:
    """Add frames [..., T, N], of which the first is number `start`, to the signal `rows` [..., R, hop], in which a frame
    begins at each row."""
    for part, piece in enumerate(frames.split(rows.shape[-1], dim=-1)):
        rows[..., start + part:start + part + piece.shape[-2], :piece.shape[-1]] += piece


def pad_reflect(x: torch.Tensor, left: int, right: int) -> torch.Tensor:
    """Reflection padding of `x` [..., L] by `left` and `right` samples, for any L >= 1.

    Reflection needs a signal longer than the padding on each side. A shorter signal is first padded with zeros until it
    is: on the right by at most `right` samples, the rest on the left. These zeros count as part of the padding, so the
    result always has left + L + right samples.
    """
    missing = max(left, right) - x.shape[-1] + 1
    if missing > 0:
        zeros_right = min(right, missing)
        zeros_left = missing - zeros_right
        x = F.pad(x, (zeros_left, zeros_right))
        left, right = left - zeros_left, right - zeros_right
    return F.pad(x, (left, right), mode="reflect")
