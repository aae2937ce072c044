"""Counts of a model: parameters, multiply-adds and memory. They are made on tensors that have shapes and no data, in
seconds and without the memory that the model would take."""

import contextlib
import typing as tp

import torch
from torch import nn
from torch.nn import functional as F

from ..dsp.eager import as_on_other_devices
from ..layers.recurrent import LSTM
from ..models.protocol import SeparationModel
from ..schema import ModelCost
from ..training.memory import OTHER, MemoryCount, like_a_gpu
from .operations import ALL, KINDS, TRANSFORM, Operations, without_data
from .subject import Subject


def counted(subject: Subject) -> ModelCost:
    """Parameters, multiply-adds and memory of a model. Raises ConfigError, see `zoo.build`."""
    with torch.device("meta"):
        model = subject.build().eval()
    mix = _mixture(model)
    with as_on_other_devices():
        operations = operations_of(model, mix)
        per_second = {kind: number / model.segment for kind, number in operations.counts.items()}
        per_second[ALL] = sum(per_second[kind] for kind in KINDS if kind != TRANSFORM)
        return ModelCost(
            model=subject.model, settings=dict(subject.settings), run=subject.run, sources=len(model.sources),
            segment=float(model.segment), parameters=sum(parameter.numel() for parameter in model.parameters()),
            macs_per_second=per_second, macs_as_thop=operations.as_thop / model.segment,
            inference_memory=_inference(model, mix), training_memory=_training(model, mix))


def operations_of(model: SeparationModel, mix: tp.Optional[torch.Tensor] = None) -> Operations:
    """Operations of a forward pass in evaluation mode on a mixture; default: one of the model's segment."""
    operations = Operations()
    with torch.no_grad(), as_on_other_devices(), operations.in_modules(), operations:
        model.eval()(_mixture(model) if mix is None else mix)
    return operations


def _mixture(model: SeparationModel) -> torch.Tensor:
    device = next(model.parameters()).device
    return torch.empty(1, model.audio_channels, int(model.segment * model.samplerate), device=device)


class _Memory(MemoryCount):
    """`MemoryCount` of tensors without data."""

    def __torch_dispatch__(self, func: tp.Any, types: tp.Any, args: tp.Any = (), kwargs: tp.Any = None) -> tp.Any:
        def answered(*args: tp.Any, **kwargs: tp.Any) -> tp.Any:
            return without_data(func, args, kwargs)
        return super().__torch_dispatch__(answered, types, args, kwargs)


def _inference(model: nn.Module, mix: torch.Tensor) -> int:
    with torch.no_grad(), Operations().in_modules(), _fused_attention(), _Memory() as counter:
        before = _known(counter, model, mix)
        model.eval()(mix)
        return counter.peak - before


def _training(model: nn.Module, mix: torch.Tensor) -> int:
    for parameter in model.parameters():
        parameter.grad = torch.empty_like(parameter) if parameter.requires_grad else None
    with like_a_gpu(), _without_autocast(), _fused_attention(), _Memory() as counter:
        before = _known(counter, model, mix)
        model.train()(mix).mean().backward()
        return counter.peak - before


def _known(counter: MemoryCount, model: nn.Module, mix: torch.Tensor) -> int:
    """Bytes of the weights, their gradients and the mixture, which are no activations; views of them are not counted as
    new then."""
    weights = [*model.parameters(), *model.buffers()]
    counter.label(OTHER, [mix, *weights, *(weight.grad for weight in weights)])
    counter.start()
    return counter.total


class _Attention(torch.autograd.Function):
    """Memory of attention in a fused kernel: queries, keys, values, output, and a number per query for the backward
    pass, but no matrix of scores."""

    @staticmethod
    def forward(ctx: tp.Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        out = query.new_empty(*query.shape[:-1], value.shape[-1])
        ctx.save_for_backward(query, key, value, out, query.new_empty(query.shape[:-1]))
        return out

    @staticmethod
    def backward(ctx: tp.Any, *gradients: torch.Tensor) -> tp.Tuple[torch.Tensor, ...]:
        return tuple(map(torch.empty_like, ctx.saved_tensors[:3]))


@contextlib.contextmanager
def _fused_attention() -> tp.Iterator[None]:
    """Context in which softmax attention takes the memory of a fused kernel, which devices have; torch would make the
    matrix of scores for tensors without data."""
    own = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = lambda query, key, value, **_: _Attention.apply(query, key, value)
    try:
        yield
    finally:
        F.scaled_dot_product_attention = own


@contextlib.contextmanager
def _without_autocast() -> tp.Iterator[None]:
    """Context in which LSTMs do not ask for autocast, which torch does not know for tensors without data."""
    own = LSTM.forward
    LSTM.forward = lambda lstm, x, hx=None: lstm._run(x, hx)       # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        LSTM.forward = own                                 # type: ignore[method-assign]
