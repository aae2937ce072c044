"""Multiply-adds of a forward pass by kind of operation, counted while the operations are called.

A multiply-add counts as one (other tools count two operations). Attention includes both products, of queries with keys
and of weights with values, as `torch.utils.flop_counter` does; its projections are linear. A transposed convolution is
counted by its input. A transform of n points counts as 1.25 n log2 n, half of the operations of a split-radix FFT of a
real signal. Normalisations, activations, sums and other operations element by element are not counted.
"""

import contextlib
import math
import typing as tp

import torch
from torch import nn
from torch.nn.modules import module as hooks
from torch.utils._python_dispatch import TorchDispatchMode

CONVOLUTION, TRANSPOSED, LINEAR = "convolution", "transposed convolution", "linear"
ATTENTION, RECURRENT, TRANSFORM = "attention", "recurrent", "transform"
KINDS = (CONVOLUTION, TRANSPOSED, LINEAR, ATTENTION, RECURRENT, TRANSFORM)
ALL = "all"                      # of KINDS but the transforms, as in other counts
def without_data(func: tp.Any, args: tp.Tuple[tp.Any, ...], kwargs: tp.Dict[str, tp.Any]) -> tp.Any:
    """Result of an operation on tensors of which some have no data (device "meta"). `torch.istft` checks that no sample
    of the overlapping windows is zero, with a comparison of scalars: it gets the answer that none is."""
    if func is torch.ops.aten.equal.default and args[0].is_meta and not args[0].dim():
        return False
    if func is torch.ops.aten._to_copy.default and args[0].is_meta and not args[0].dim() \
            and torch.device(kwargs.get("device") or "meta").type == "cpu":
        return torch.ones((), dtype=args[0].dtype)        # only for the text of its error
    return func(*args, **kwargs)


class Operations(TorchDispatchMode):
    """Context that counts the multiply-adds of the operations in it, also of those on tensors without data.

    Attributes:
        counts: multiply-adds by kind.
        as_thop: multiply-adds as thop 0.1.1 counts them: transposed convolutions by their output, no products of
            attention, and no projections of `nn.MultiheadAttention`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts = dict.fromkeys(KINDS, 0)
        self.as_thop = 0
        self._in_attention = 0

    def _add(self, kind: str, count: int, as_thop: tp.Optional[int] = None) -> None:
        self.counts[kind] += count
        self.as_thop += count if as_thop is None else as_thop

    def __torch_dispatch__(self, func: tp.Any, types: tp.Any, args: tp.Any = (), kwargs: tp.Any = None) -> tp.Any:
        out = without_data(func, args, kwargs or {})
        name = func._overloadpacket.__name__
        if name == "convolution":
            weight, transposed = args[1], args[6]
            per_output = out.numel() * weight[0].numel()
            if transposed:
                self._add(TRANSPOSED, args[0].numel() * weight[0].numel(),
                          out.numel() * weight[:, 0].numel() // args[8])
            else:
                self._add(CONVOLUTION, per_output)
        elif name in ("mm", "addmm"):
            first, second = args[-2:]
            self._add(LINEAR, first.numel() * second.shape[1], 0 if self._in_attention else None)
        elif name in ("bmm", "baddbmm"):
            first, second = args[-2:]
            self._add(ATTENTION, first.numel() * second.shape[2], 0)
        elif name.startswith("_scaled_dot_product"):
            query, key, value = args[:3]
            pairs = query.shape[:-1].numel() * key.shape[-2]
            self._add(ATTENTION, pairs * (query.shape[-1] + value.shape[-1]), 0)
        elif name in ("_fft_r2c", "_fft_c2r"):
            real = args[0] if name == "_fft_r2c" else out
            self._add(TRANSFORM, round(1.25 * real.numel() * math.log2(real.shape[args[1][0]])), 0)
        return out

    @contextlib.contextmanager
    def in_modules(self) -> tp.Iterator[None]:
        """Context of the forward passes of modules: LSTMs are counted and not computed (their output has no values that
        mean anything), since torch would call an operation per time step."""
        own = nn.LSTM.forward

        def forward(lstm: nn.LSTM, x: torch.Tensor, hx: tp.Any = None) -> tp.Tuple[torch.Tensor, None]:
            directions = 2 if lstm.bidirectional else 1
            hidden, rows = lstm.hidden_size, x.shape[:2].numel()
            sizes = [lstm.input_size, *[directions * hidden] * (lstm.num_layers - 1)]
            self._add(RECURRENT, sum(rows * directions * 4 * hidden * (size + hidden) for size in sizes))
            return x.new_empty(*x.shape[:2], directions * hidden), None

        def before(module: nn.Module, _: tp.Any) -> None:
            self._in_attention += isinstance(module, nn.MultiheadAttention)

        def after(module: nn.Module, *_: tp.Any) -> None:
            self._in_attention -= isinstance(module, nn.MultiheadAttention)
        nn.LSTM.forward = forward                          # type: ignore[method-assign, assignment]
        handles = [hooks.register_module_forward_pre_hook(before), hooks.register_module_forward_hook(after)]
        try:
            yield
        finally:
            nn.LSTM.forward = own                          # type: ignore[method-assign]
            for handle in handles:
                handle.remove()
