"""Memory of tensors, counted while operations are called: which layer or part of a training needs how much at its peak.

With torch's fake tensors, whose operations compute shapes only, this counts a training of any size in seconds, without
its memory and without a GPU. Temporary memory within an operation, such as the workspace of a convolution, is not seen.
"""

import contextlib
import typing as tp
import weakref

import torch
from torch import nn
from torch.nn.modules import module as hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from ..dsp.eager import as_on_other_devices
from ..layers.recurrent import LSTM

PARAMETERS, GRADIENTS, OPTIMIZER, AVERAGES = "parameters", "gradients", "optimizer", "averages"
BATCH = "batch"                       # the stems of the examples, on the device
BACKWARD = "loss and backward pass"
TRANSFORMS = "transforms"
RECOMPUTED = ", recomputed"
OTHER = "other"
SMALL = 32 * 2 ** 20     # bytes from which on glibc's malloc gives every block back when it is freed


class MemoryCount(TorchDispatchMode):
    """Context that counts the memory of all tensors created in it, or given to `label`, as long as they exist.

    Attributes:
        total: bytes of the tensors that exist now.
        peak: largest `total` since `start`.
        at_peak: bytes at that time by label.
        small_at_peak: bytes at that time in tensors of less than `SMALL` bytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0
        self.peak = 0
        self.at_peak: tp.Dict[str, int] = {}
        self.small_at_peak = self._small = 0
        self._labels: tp.Dict[str, int] = {}
        self._storages: tp.Dict[int, tp.Tuple[tp.Any, str, int]] = {}      # by address: reference, label, bytes
        self.current_labels = [OTHER]

    @property
    def current(self) -> str:
        """Label of new tensors."""
        return self.current_labels[-1]

    def start(self) -> None:
        """Forget the peak so far."""
        self.peak, self.small_at_peak, self.at_peak = self.total, self._small, {label: size for label, size in self._labels.items() if size}

    @contextlib.contextmanager
    def labelling(self, label: str) -> tp.Iterator[None]:
        """Context in which new tensors have this label."""
        self.current_labels.append(label)
        try:
            yield
        finally:
            self.current_labels.pop()

    def label(self, label: str, tensors: tp.Iterable[tp.Optional[torch.Tensor]]) -> None:
        """Give existing tensors another label."""
        for tensor in tensors:
            if tensor is not None:
                self._add(tensor, label)

    def _add(self, tensor: torch.Tensor, label: str) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        known = self._storages.pop(key, None)
        if known is not None:
            self._count(known[1], -known[2])
        self._storages[key] = (weakref.ref(storage, lambda _: self._remove(key)), label, size)
        self._count(label, size)

    def _remove(self, key: int) -> None:
        known = self._storages.pop(key, None)
        if known is not None:
            self._count(known[1], -known[2])

    def _count(self, label: str, size: int) -> None:
        self._labels[label] = self._labels.get(label, 0) + size
        self.total += size
        self._small += size if abs(size) < SMALL else 0

    def _see(self) -> None:
        if self.total > self.peak:
            self.start()

    def __torch_dispatch__(self, func: tp.Any, types: tp.Any, args: tp.Any = (), kwargs: tp.Any = None) -> tp.Any:
        try:
            out = func(*args, **(kwargs or {}))
        except RuntimeError as error:
            # A question about values that fake tensors do not have gets the answer of a training without faults.
            if type(error).__name__ != "DataDependentOutputException":
                raise
            return False if func is torch.ops.aten.equal.default else True if args[0].dtype == torch.bool else 1
        for tensor in tree_iter(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                known = self._storages.get(storage._cdata)
                if known is None:
                    self._add(tensor, self.current)
                elif known[2] != storage.nbytes():               # resized
                    self._add(tensor, known[1])
        self._see()
        return out


@contextlib.contextmanager
def labelling_layers(count: MemoryCount, model: nn.Module) -> tp.Iterator[None]:
    """Context of training steps of `model`. Tensors that are created in its forward pass have the name of their layer
    as label, with `RECOMPUTED` for activation checkpointing, gradients of parameters `GRADIENTS`, and all others
    `BACKWARD`."""
    names = {module: _layer(name) for name, module in model.named_modules()}

    def before(module: nn.Module, _: tp.Any) -> None:
        label, name = count.current, names.get(module)
        if label == BACKWARD and name is not None and module is not model:
            label = name + RECOMPUTED
        elif not label.endswith(RECOMPUTED):
            label = name or label
        count.current_labels.append(label)

    def after(*_: tp.Any) -> None:
        count.current_labels.pop()
    handles = [hooks.register_module_forward_pre_hook(before), hooks.register_module_forward_hook(after, always_call=True)]
    handles += [parameter.register_post_accumulate_grad_hook(lambda one: count.label(GRADIENTS, [one.grad]))
                for parameter in model.parameters() if parameter.requires_grad]
    try:
        with count.labelling(BACKWARD):
            yield
    finally:
        for handle in handles:
            handle.remove()


def _layer(name: str) -> str:
    """Name of the block of a model that the module `name` is part of: its words up to the first index, or all but the
    last one; the model itself is "transforms", after what it does outside of its layers."""
    words = name.split(".")
    for index, word in enumerate(words):
        if word.isdigit():
            return ".".join(words[:index + 1])
    return ".".join(words[:2]) or TRANSFORMS


class _Recurrent(torch.autograd.Function):
    """Memory of an LSTM in training on a GPU: its output, and for the backward pass the gates, cells and outputs of
    every layer, direction and step in cuDNN's reserve."""

    @staticmethod
    def forward(ctx: tp.Any, x: torch.Tensor, layers: int, width: int, *weights: torch.Tensor) -> torch.Tensor:
        out = x.new_empty(*x.shape[:2], width)
        reserve = x.new_empty(layers * 6 * width * x.shape[0] * x.shape[1])
        ctx.save_for_backward(x, out, reserve, *weights)
        return out

    @staticmethod
    def backward(ctx: tp.Any, *gradients: torch.Tensor) -> tp.Tuple[tp.Any, ...]:
        x, _, _, *weights = ctx.saved_tensors
        return (torch.empty_like(x), None, None, *map(torch.empty_like, weights))


def _width(self: nn.LSTM) -> int:
    return self.hidden_size * (2 if self.bidirectional else 1)


def _lstm(self: nn.LSTM, input: torch.Tensor, hx: tp.Any = None) -> tp.Tuple[torch.Tensor, None]:
    return _Recurrent.apply(input, self.num_layers, _width(self), *self.parameters()), None


def _one_layer(self: LSTM, x: torch.Tensor, start: torch.Tensor, weights: tp.List[torch.Tensor]
               ) -> tp.Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return _Recurrent.apply(x, 1, _width(self), *weights), start, start


def _in_float32(forward: tp.Callable[..., torch.Tensor]) -> tp.Callable[..., torch.Tensor]:
    def in_float32(self: nn.Module, input: torch.Tensor) -> torch.Tensor:
        if not torch.is_autocast_enabled("cpu"):
            return forward(self, input)
        with torch.autocast("cpu", enabled=False):
            return forward(self, input.float())
    return in_float32


@contextlib.contextmanager
def like_a_gpu() -> tp.Iterator[None]:
    """Context in which the operations of a CPU take the memory of those of a GPU: autocast keeps normalisations in
    float32, and LSTMs are those of cuDNN. Their results are meaningless."""
    own = {kind: kind.forward for kind in (nn.LSTM, nn.GroupNorm, nn.LayerNorm)}
    one_layer = LSTM._one_layer
    with as_on_other_devices():
        try:
            nn.LSTM.forward = _lstm                                     # type: ignore[method-assign, assignment]
            LSTM._one_layer = _one_layer                                # type: ignore[method-assign]
            for kind in (nn.GroupNorm, nn.LayerNorm):
                kind.forward = _in_float32(own[kind])                   # type: ignore[method-assign]
            yield
        finally:
            for kind, forward in own.items():
                kind.forward = forward                                  # type: ignore[method-assign]
            LSTM._one_layer = one_layer                                 # type: ignore[method-assign]
