"""Piecewise evaluation of encoder and decoder blocks, for separation on a CPU.

Over a whole segment of a song, the intermediate results of a block take hundreds of megabytes, and its speed is limited
by main memory. Here a block is evaluated in pieces along the axis of its convolution. The pieces fit in the cache and
have channels-last memory format, in which convolutions are fastest. `benchmarks/bench_layers.py` measures the gain.

The results equal those of the module's `forward` up to rounding. Training, other devices, and blocks with group
normalisation, attention or an LSTM use `forward`.
"""

import typing as tp

import torch
from torch import nn
from torch.nn import functional as F

from ...dsp.eager import eager_on_cpu

if tp.TYPE_CHECKING:
    from ..blocks import DecoderBlock, EncoderBlock
    from ..dconv import DConv

PIECE = 8 * 2 ** 20        # bytes of the largest intermediate result; two of them should fit in the cache
LAST = torch.channels_last
# With a single thread, torch uses oneDNN for a 1x1 convolution only if it is dilated, which has no effect on the
# result. `benchmarks/bench_layers.py` measures the gain, which depends on the processor.
DILATED = 2
Span = tp.Tuple[int, int]  # first position, and the one after the last


def can_encode(block: "EncoderBlock", x: torch.Tensor) -> bool:
    """Whether `encode` can replace the `forward` of the encoder block `block` for its input `x`."""
    return _suits(block, x) and not any(block.rewrite.padding)


def can_decode(block: "DecoderBlock", x: torch.Tensor) -> bool:
    """Whether `decode` can replace the `forward` of the decoder block `block` for its input `x`. False at a single
    frequency bin: there the branches merge, and the input of the transposed convolution is needed, too."""
    return _suits(block, x) and (block.spec.axis == "time" or (x.dim() == 4 and x.shape[2] > 1))


def _suits(block: tp.Union["EncoderBlock", "DecoderBlock"], x: torch.Tensor) -> bool:
    """Whether a block and its input are supported. Not with hooks on a module of the block, because they would not be
    called."""
    spec = block.spec
    return (eager_on_cpu(x) and _dtype(x) in (torch.float32, torch.bfloat16) and torch.backends.mkldnn.is_available()
            and spec.rewrite and not spec.merge and not spec.norm_groups and spec.kernel >= spec.stride
            and not (block.dconv is not None and (block.dconv.spec.attention or block.dconv.spec.lstm))
            and not any(part._forward_hooks or part._forward_pre_hooks
                        for part in block.modules() if part is not block))


def encode(block: "EncoderBlock", x: torch.Tensor) -> torch.Tensor:
    """Output of the encoder block `block` for `x` [B, outer, F, T] or [B, outer, T]. Requires `can_encode(block,
    x)`."""
    dtype = _dtype(x)
    with torch.autocast("cpu", enabled=False):
        return _encode(block, x, 2, dtype) if x.dim() == 4 else _encode(block, x[:, :, None], 3, dtype)[:, :, 0]


def decode(block: "DecoderBlock", x: torch.Tensor, skip: torch.Tensor, *, first: int, length: int, activate: bool
           ) -> torch.Tensor:
    """Positions [first, first + length) along the axis of `block` of the output of its transposed convolution, for `x`
    and the skip connection `skip`, both [B, inner, F, T] or [B, inner, T]; with GELU if `activate`. Requires
    `can_decode(block, x)`."""
    dtype, span = _dtype(x), (first, first + length)
    with torch.autocast("cpu", enabled=False):
        if x.dim() == 4:
            return _decode(block, x, skip, 2, dtype, span, activate)
        return _decode(block, x[:, :, None], skip[:, :, None], 3, dtype, span, activate)[:, :, 0]


def _encode(block: "EncoderBlock", x: torch.Tensor, axis: int, dtype: torch.dtype) -> torch.Tensor:
    spec, padding = block.spec, block.conv.padding[0]
    size = x.shape[axis] + (-x.shape[axis] % spec.stride if axis == 3 else 0)
    out = _like(x, spec.inner, axis, (size + 2 * padding - spec.kernel) // spec.stride + 1, dtype)
    kernel, bias = _kernel(block.conv, dtype)
    for source, target in zip(x.split(1), out.split(1)):
        for start, stop in _spans(target, axis, 2 * spec.inner):
            field = (start * spec.stride - padding, (stop - 1) * spec.stride - padding + spec.kernel)
            part = target.narrow(axis, start, stop - start)
            part.copy_(F.gelu(F.conv2d(_window(source, axis, field, dtype), kernel, bias, _stride(spec.stride, axis))))
            if axis == 2:                    # all further operations are independent per frequency
                _finish(block, part)
        if axis == 3:
            _finish(block, target)
    return out


def _finish(block: "EncoderBlock", x: torch.Tensor) -> None:
    """Operations of an encoder after the strided convolution and its activation, in place."""
    if block.dconv is not None:
        add_residuals(block.dconv, x)
    kernel, bias = _kernel(block.rewrite, x.dtype)
    for start, stop in _spans(x, 3, len(kernel)):
        part = x[..., start:stop]
        torch.mul(*_signal_and_gate(F.conv2d(part, kernel, bias, dilation=DILATED)), out=part)


def _decode(block: "DecoderBlock", x: torch.Tensor, skip: torch.Tensor, axis: int, dtype: torch.dtype, span: Span,
            activate: bool) -> torch.Tensor:
    spec, size = block.spec, x.shape[axis]
    out = _like(x, spec.outer, axis, span[1] - span[0], dtype)
    kernel, bias = _kernel(block.conv_tr, dtype)
    overlap = spec.kernel - spec.stride
    for one, kept, target in zip(x.split(1), skip.split(1), out.split(1)):
        seam = None                          # contribution of the previous piece to the first positions of this one
        for (start, stop), y in _transposed_input(block, one, kept, axis, dtype):
            y = F.conv_transpose2d(y, kernel, bias, _stride(spec.stride, axis))
            if seam is not None:
                y.narrow(axis, 0, overlap).add_(seam)
            begin, ready = start * spec.stride, y.shape[axis] - (overlap if stop < size else 0)
            seam = y.narrow(axis, y.shape[axis] - overlap, overlap) - bias[:, None, None]     # both pieces add a bias
            low, high = max(span[0], begin), min(span[1], begin + ready)
            if low < high:
                y = y.narrow(axis, low - begin, high - low)
                target.narrow(axis, low - span[0], high - low).copy_(F.gelu(y) if activate else y)
    return out


def _transposed_input(block: "DecoderBlock", x: torch.Tensor, skip: torch.Tensor, axis: int, dtype: torch.dtype
                      ) -> tp.Iterator[tp.Tuple[Span, torch.Tensor]]:
    """Input of the transposed convolution, piece by piece, with the span of each piece."""
    kernel, bias = _kernel(block.rewrite, dtype)
    reach, padding = kernel.shape[axis] // 2, [kernel.shape[2] // 2, kernel.shape[3] // 2]
    padding[axis - 2] = 0                    # along the axis of the pieces, the window contains the neighbours
    spans = list(_spans(x, axis, len(kernel)))

    def rewritten(span: Span) -> torch.Tensor:
        field = (span[0] - reach, span[1] + reach)
        y = _window(x, axis, field, dtype) + _window(skip, axis, field, dtype)
        return torch.mul(*_signal_and_gate(F.conv2d(y, kernel, bias, padding=padding)))

    if block.dconv is not None and axis == 3:                # its normalisation is over the whole time axis
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
    """Apply the residual branches of a `DConv` without attention and LSTM to `x` [1, C, F, T] (channels last), to each
    frequency independently. `x` is modified."""
    rows = x[0].permute(1, 2, 0)                                                      # [F, T, C]
    for compress, norm, _, expand, norm_out, _, scale in dconv.layers:
        kernel, bias = _kernel(compress, x.dtype)
        hidden = F.conv2d(x, kernel, bias, padding=(0, compress.padding[0]), dilation=(1, compress.dilation[0]))
        hidden = hidden[0].permute(1, 2, 0)                                           # [F, T, H]
        # One group over all channels and times. torch's group_norm for this layout has errors up to 3e-4 over millions
        # of values.
        hidden = F.layer_norm(hidden, hidden.shape[1:], eps=norm.eps)
        hidden = F.gelu(torch.addcmul(norm.bias.to(x.dtype), hidden, norm.weight.to(x.dtype)))
        hidden, kernel = _normalised_map(hidden, expand, norm_out, scale.scale)
        for start, stop in _spans(x, 3, kernel.shape[2]):
            signal, gate = (torch.bmm(hidden[:, start:stop], half) for half in kernel.chunk(2, dim=2))
            rows[:, start:stop].addcmul_(signal, gate.sigmoid_())


def _normalised_map(h: torch.Tensor, expand: nn.Conv1d, norm: nn.GroupNorm, scale: torch.Tensor
                    ) -> tp.Tuple[torch.Tensor, torch.Tensor]:
    """Factors of a matrix product per frequency that equals a 1x1 convolution of `h` [F, T, H], its normalisation over
    all channels and times, and the gain `scale` of the half that is not the gate. The mean and variance of the product
    follow from the mean and covariance of its small factor, so the product itself is not needed for the normalisation.

    Returns the factors [F, T, H + 1] and [F, H + 1, 2 C]; the last row of the second is the bias.
    """
    weight = expand.weight[:, :, 0].float()
    centre = h.mean(1, keepdim=True, dtype=torch.float32)
    factor = h.new_empty(h.shape[0], h.shape[1], h.shape[2] + 1)
    torch.sub(h, centre, out=factor[..., :-1])
    factor[..., -1] = 1
    centred = factor[..., :-1].double()      # a float32 product over thousands of steps has errors of 5e-4
    covariance = (centred.transpose(1, 2) @ centred / h.shape[1]).float()                           # [F, H, H]
    mean = F.linear(centre[:, 0], weight, expand.bias.float())                                      # [F, 2 C]
    variance = ((weight @ covariance) * weight).sum(2).mean(1) + mean.var(1, correction=0)
    gain = norm.weight * (variance + norm.eps).rsqrt()[:, None]
    bias = (mean - mean.mean(1, keepdim=True)) * gain + norm.bias
    kernel = torch.cat([weight.t() * gain[:, None], bias[:, None]], dim=1)
    kernel[..., :len(scale)] *= scale
    return factor, kernel.to(h.dtype)


def _dtype(x: torch.Tensor) -> torch.dtype:
    """Type to compute in: that of `x`, or of autocast if enabled."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


def _like(x: torch.Tensor, channels: int, axis: int, size: int, dtype: torch.dtype) -> torch.Tensor:
    shape = [len(x), channels, *x.shape[2:]]
    shape[axis] = size
    return torch.empty(shape, dtype=dtype, memory_format=LAST)


def _stride(stride: int, axis: int) -> Span:
    return (stride, 1) if axis == 2 else (1, stride)


def _kernel(conv: nn.Module, dtype: torch.dtype) -> tp.Tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of a convolution in 2D form; a convolution over time gets a frequency axis of size 1."""
    weight = conv.weight if conv.weight.dim() == 4 else conv.weight[:, :, None]
    return weight.to(dtype, memory_format=LAST), conv.bias.to(dtype)


def _spans(x: torch.Tensor, axis: int, channels: int) -> tp.Iterator[Span]:
    """Spans of `axis` of `x` [1, C, F, T], such that `channels` channels of one span take about PIECE bytes."""
    size = x.shape[axis]
    step = max(1, PIECE * size // (channels * x[0, 0].numel() * x.element_size()))
    for start in range(0, size, step):
        yield start, min(size, start + step)


def _window(x: torch.Tensor, axis: int, span: Span, dtype: torch.dtype) -> torch.Tensor:
    """A span of `axis` of `x` [1, C, F, T]; positions beyond the ends are zero."""
    start, stop = max(0, span[0]), min(span[1], x.shape[axis])
    inside = x.narrow(axis, start, stop - start).to(dtype, memory_format=LAST)
    if (start, stop) == span:
        return inside
    ends = (start - span[0], span[1] - stop)
    return F.pad(inside, ends if axis == 3 else (0, 0, *ends))


def _signal_and_gate(y: torch.Tensor) -> tp.Tuple[torch.Tensor, torch.Tensor]:
    """Both factors of a gated linear unit over channels.

    The gate is copied to contiguous memory first. In a view with runs of 48 channels, the sigmoid of the remainder of
    the widest vector instructions is computed one by one, which is slow.
    """
    signal, gate = y.chunk(2, dim=1)
    return signal, gate.clone(memory_format=LAST).sigmoid_()
