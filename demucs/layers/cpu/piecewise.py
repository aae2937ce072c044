"""Blocks evaluated piece by piece: what separation on a CPU uses instead of their plain formulas.

Over a whole segment of a song the intermediate results of a block take hundreds of megabytes, and it is as slow as main
memory. Here a block walks along the axis that it convolves over, in pieces that stay in the cache, with channels last
in memory, where convolutions are fastest: on two cores of an AMD EPYC (Zen 5), at the shapes of HDemucs, a 3x3
convolution rises from 120 to 540 GFLOP/s, a 1x1 convolution from 40 to 480, a transposed one from 20 to 440.

The results are those of the plain formulas up to rounding. Training, other devices, and blocks that normalise over all
frequencies or have attention or an LSTM inside stay with the plain formulas.
"""

import typing as tp

import torch
from torch import nn
from torch.nn import functional as F

from ...dsp.eager import eager_on_cpu

if tp.TYPE_CHECKING:
    from ..blocks import DecoderBlock, EncoderBlock
    from ..dconv import DConv

PIECE = 8 * 2 ** 20        # bytes of the largest intermediate result, of which a cache should hold two
LAST = torch.channels_last
# A single thread gets oneDNN for a 1x1 convolution only where it is dilated, which does not matter to it: 89 and 233
# GFLOP/s.
DILATED = 2
Span = tp.Tuple[int, int]  # first position, and the one after the last


def can_encode(block: "EncoderBlock", x: torch.Tensor) -> bool:
    """Whether `encode` may compute what `block` makes of `x`."""
    return _suits(block, x) and not any(block.rewrite.padding)


def can_decode(block: "DecoderBlock", x: torch.Tensor) -> bool:
    """Whether `decode` may compute what `block` makes of `x`. Not where one frequency is left: there the branches meet,
    and what enters the transposed convolution is wanted, too."""
    return _suits(block, x) and (block.spec.axis == "time" or (x.dim() == 4 and x.shape[2] > 1))


def _suits(block: tp.Union["EncoderBlock", "DecoderBlock"], x: torch.Tensor) -> bool:
    """Nor where somebody listens to a part of the block, because parts are not called here."""
    spec = block.spec
    return (eager_on_cpu(x) and _dtype(x) in (torch.float32, torch.bfloat16) and torch.backends.mkldnn.is_available()
            and spec.rewrite and not spec.merge and not spec.norm_groups and spec.kernel >= spec.stride
            and not (block.dconv is not None and (block.dconv.spec.attention or block.dconv.spec.lstm))
            and not any(part._forward_hooks or part._forward_pre_hooks
                        for part in block.modules() if part is not block))


def encode(block: "EncoderBlock", x: torch.Tensor) -> torch.Tensor:
    """What `block` makes of `x` [B, outer, F, T] or [B, outer, T]."""
    dtype = _dtype(x)
    with torch.autocast("cpu", enabled=False):
        return _encode(block, x, 2, dtype) if x.dim() == 4 else _encode(block, x[:, :, None], 3, dtype)[:, :, 0]


def decode(block: "DecoderBlock", x: torch.Tensor, skip: torch.Tensor, *, first: int, length: int, activate: bool
           ) -> torch.Tensor:
    """Positions [first, first + length) of what the transposed convolution of `block` makes of `x` and `skip`, both
    [B, inner, F, T] or [B, inner, T]; through GELU if asked for."""
    dtype, places = _dtype(x), (first, first + length)
    with torch.autocast("cpu", enabled=False):
        if x.dim() == 4:
            return _decode(block, x, skip, 2, dtype, places, activate)
        return _decode(block, x[:, :, None], skip[:, :, None], 3, dtype, places, activate)[:, :, 0]


def _encode(block: "EncoderBlock", x: torch.Tensor, axis: int, dtype: torch.dtype) -> torch.Tensor:
    spec, padding = block.spec, block.conv.padding[0]
    size = x.shape[axis] + (-x.shape[axis] % spec.stride if axis == 3 else 0)
    out = _like(x, spec.inner, axis, (size + 2 * padding - spec.kernel) // spec.stride + 1, dtype)
    kernel, bias = _kernel(block.conv, dtype)
    for source, target in zip(x.split(1), out.split(1)):
        for start, stop in _spans(target, axis, 2 * spec.inner):
            sees = (start * spec.stride - padding, (stop - 1) * spec.stride - padding + spec.kernel)
            part = target.narrow(axis, start, stop - start)
            part.copy_(F.gelu(F.conv2d(_window(source, axis, sees, dtype), kernel, bias, _stride(spec.stride, axis))))
            if axis == 2:                    # from here on, each frequency goes its own way
                _finish(block, part)
        if axis == 3:
            _finish(block, target)
    return out


def _finish(block: "EncoderBlock", x: torch.Tensor) -> None:
    """What an encoder does after the strided convolution, in place."""
    if block.dconv is not None:
        add_residuals(block.dconv, x)
    kernel, bias = _kernel(block.rewrite, x.dtype)
    for start, stop in _spans(x, 3, len(kernel)):
        part = x[..., start:stop]
        torch.mul(*_signal_and_gate(F.conv2d(part, kernel, bias, dilation=DILATED)), out=part)


def _decode(block: "DecoderBlock", x: torch.Tensor, skip: torch.Tensor, axis: int, dtype: torch.dtype, places: Span,
            activate: bool) -> torch.Tensor:
    spec, size = block.spec, x.shape[axis]
    out = _like(x, spec.outer, axis, places[1] - places[0], dtype)
    kernel, bias = _kernel(block.conv_tr, dtype)
    overlap = spec.kernel - spec.stride
    for one, kept, target in zip(x.split(1), skip.split(1), out.split(1)):
        seam = None                          # what the piece before has for the first positions of this one
        for (start, stop), y in _entering(block, one, kept, axis, dtype):
            y = F.conv_transpose2d(y, kernel, bias, _stride(spec.stride, axis))
            if seam is not None:
                y.narrow(axis, 0, overlap).add_(seam)
            begin, ready = start * spec.stride, y.shape[axis] - (overlap if stop < size else 0)
            seam = y.narrow(axis, y.shape[axis] - overlap, overlap) - bias[:, None, None]     # both pieces add a bias
            low, high = max(places[0], begin), min(places[1], begin + ready)
            if low < high:
                y = y.narrow(axis, low - begin, high - low)
                target.narrow(axis, low - places[0], high - low).copy_(F.gelu(y) if activate else y)
    return out


def _entering(block: "DecoderBlock", x: torch.Tensor, skip: torch.Tensor, axis: int, dtype: torch.dtype
              ) -> tp.Iterator[tp.Tuple[Span, torch.Tensor]]:
    """What enters the transposed convolution, piece by piece, with each piece's place."""
    kernel, bias = _kernel(block.rewrite, dtype)
    reach, padding = kernel.shape[axis] // 2, [kernel.shape[2] // 2, kernel.shape[3] // 2]
    padding[axis - 2] = 0                    # along the axis of pieces, neighbours are part of the window
    spans = list(_spans(x, axis, len(kernel)))

    def rewritten(span: Span) -> torch.Tensor:
        sees = (span[0] - reach, span[1] + reach)
        y = _window(x, axis, sees, dtype) + _window(skip, axis, sees, dtype)
        return torch.mul(*_signal_and_gate(F.conv2d(y, kernel, bias, padding=padding)))

    if block.dconv is not None and axis == 3:                # its normalisation is over all of the time
        whole = torch.cat([rewritten(span) for span in spans], dim=axis)
        add_residuals(block.dconv, whole)
        for start, stop in spans:
            yield (start, stop), whole[..., start:stop]
        return
    for span in spans:
        y = rewritten(span)
        if block.dconv is not None:
            add_residuals(block.dconv, y)
        yield span, y


def add_residuals(dconv: "DConv", x: torch.Tensor) -> None:
    """`DConv` without attention and LSTM for each frequency of [1, C, F, T] on its own, in place. Channels last."""
    rows = x[0].permute(1, 2, 0)                                                      # [F, T, C]
    for compress, norm, _, expand, norm_out, _, scale in dconv.layers:
        kernel, bias = _kernel(compress, x.dtype)
        hidden = F.conv2d(x, kernel, bias, padding=(0, compress.padding[0]), dilation=(1, compress.dilation[0]))
        hidden = hidden[0].permute(1, 2, 0)                                           # [F, T, H]
        # One group over all channels and times. torch's own for this layout is up to 3e-4 off over millions of values.
        hidden = F.layer_norm(hidden, hidden.shape[1:], eps=norm.eps)
        hidden = F.gelu(torch.addcmul(norm.bias.to(x.dtype), hidden, norm.weight.to(x.dtype)))
        hidden, kernel = _normalised_map(hidden, expand, norm_out, scale.scale)
        for start, stop in _spans(x, 3, kernel.shape[2]):
            signal, gate = (torch.bmm(hidden[:, start:stop], half) for half in kernel.chunk(2, dim=2))
            rows[:, start:stop].addcmul_(signal, gate.sigmoid_())


def _normalised_map(h: torch.Tensor, expand: nn.Conv1d, norm: nn.GroupNorm, scale: torch.Tensor
                    ) -> tp.Tuple[torch.Tensor, torch.Tensor]:
    """A 1x1 convolution of `h` [F, T, H], its normalisation over all channels and times, and the gain `scale` of the
    half that is not the gate, as one matrix product per frequency. A product need not be computed to be normalised: the
    mean and the covariance of its small factor tell those of its large result.

    Returns the factors [F, T, H + 1] and [F, H + 1, 2 C]; the last row of the second is the bias.
    """
    weight = expand.weight[:, :, 0].float()
    centre = h.mean(1, keepdim=True, dtype=torch.float32)
    factor = h.new_empty(h.shape[0], h.shape[1], h.shape[2] + 1)
    torch.sub(h, centre, out=factor[..., :-1])
    factor[..., -1] = 1
    moved = factor[..., :-1].double()        # a product adds up naively: in float32 5e-4 off over thousands of steps
    covariance = (moved.transpose(1, 2) @ moved / h.shape[1]).float()                               # [F, H, H]
    mean = F.linear(centre[:, 0], weight, expand.bias.float())                                      # [F, 2 C]
    variance = ((weight @ covariance) * weight).sum(2).mean(1) + mean.var(1, correction=0)
    gain = norm.weight * (variance + norm.eps).rsqrt()[:, None]
    bias = (mean - mean.mean(1, keepdim=True)) * gain + norm.bias
    kernel = torch.cat([weight.t() * gain[:, None], bias[:, None]], dim=1)
    kernel[..., :len(scale)] *= scale
    return factor, kernel.to(h.dtype)


def _dtype(x: torch.Tensor) -> torch.dtype:
    """What to compute in: as `x` is, or as the autocast around says."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


def _like(x: torch.Tensor, channels: int, axis: int, size: int, dtype: torch.dtype) -> torch.Tensor:
    shape = [len(x), channels, *x.shape[2:]]
    shape[axis] = size
    return torch.empty(shape, dtype=dtype, memory_format=LAST)


def _stride(stride: int, axis: int) -> Span:
    return (stride, 1) if axis == 2 else (1, stride)


def _kernel(conv: nn.Module, dtype: torch.dtype) -> tp.Tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of a convolution, one over time as one over frequency and time."""
    weight = conv.weight if conv.weight.dim() == 4 else conv.weight[:, :, None]
    return weight.to(dtype, memory_format=LAST), conv.bias.to(dtype)


def _spans(x: torch.Tensor, axis: int, channels: int) -> tp.Iterator[Span]:
    """Spans of `axis` of `x` [1, C, F, T], of each of which so many channels are about a piece."""
    size = x.shape[axis]
    step = max(1, PIECE * size // (channels * x[0, 0].numel() * x.element_size()))
    for start in range(0, size, step):
        yield start, min(size, start + step)


def _window(x: torch.Tensor, axis: int, span: Span, dtype: torch.dtype) -> torch.Tensor:
    """A span of `axis` of `x` [1, C, F, T], which may reach beyond its ends, into zeros."""
    start, stop = max(0, span[0]), min(span[1], x.shape[axis])
    inside = x.narrow(axis, start, stop - start).to(dtype, memory_format=LAST)
    if (start, stop) == span:
        return inside
    ends = (start - span[0], span[1] - stop)
    return F.pad(inside, ends if axis == 3 else (0, 0, *ends))


def _signal_and_gate(y: torch.Tensor) -> tp.Tuple[torch.Tensor, torch.Tensor]:
    """The factors of a gated linear unit over channels.

    The gate is copied first: where channels lie in runs of 48, a sigmoid is computed one by one for those that the
    widest instructions leave over, three times as slow as over the whole.
    """
    signal, gate = y.chunk(2, dim=1)
    return signal, gate.clone(memory_format=LAST).sigmoid_()
