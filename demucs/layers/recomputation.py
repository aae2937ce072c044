"""Activation checkpointing (Chen et al. 2016, "Training deep nets with sublinear memory cost", arXiv:1604.06174): the
activations within a block are not stored for the backward pass, but computed again in it from the input of the block.

The forward pass of a block is run twice with the same input, weights, buffers, random state and autocast, so gradients
have the same bits. Nothing is changed by the second one.
"""

import contextlib
import functools
import typing as tp
import weakref

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from . import dropout


class _Module(tp.NamedTuple):
    """The tensors of a module (without those of its children) at the time of a forward pass."""
    module: nn.Module
    parameters: tp.Dict[str, tp.Optional[torch.Tensor]]
    buffers: tp.Dict[str, tp.Optional[torch.Tensor]]

    @classmethod
    def of(cls, module: nn.Module, *, copies: bool = False) -> "_Module":
        """The tensors of `module` now, with copies of the buffers if `copies`."""
        return cls(module, dict(module._parameters),
                   {name: buffer.clone() if copies and buffer is not None else buffer
                    for name, buffer in module._buffers.items()})

    def put_back(self) -> None:
        self.module._parameters.update(tp.cast(tp.Any, self.parameters))
        self.module._buffers.update(self.buffers)
        if isinstance(self.module, nn.RNNBase):          # it has a list of its weights besides
            weights = [getattr(self.module, name, None) for name in self.module._flat_weights_names]
            references = [None if weight is None else weakref.ref(weight) for weight in weights]
            self.module.__dict__.update(_flat_weights=weights, _flat_weight_refs=references)


@contextlib.contextmanager
def _as_they_were(modules: tp.Sequence[_Module]) -> tp.Iterator[None]:
    """Context in which modules have the tensors of an earlier forward pass: the noisy weights of quantisation, and
    copies of running statistics before they were updated, which the second pass updates instead of the real ones."""
    now = [_Module.of(each.module) for each in modules]
    for each in modules:
        each.put_back()
    try:
        yield
    finally:
        for each in now:
            each.put_back()


@contextlib.contextmanager
def _again(*contexts: tp.ContextManager[None]) -> tp.Iterator[None]:
    with contextlib.ExitStack() as stack:
        for each in contexts:
            stack.enter_context(each)
        yield


def _recomputed(block: nn.Module, *args: tp.Any) -> tp.Any:
    forward = functools.partial(type(block).forward, block)
    if not torch.is_grad_enabled():
        return forward(*args)

    def contexts() -> tp.Tuple[tp.ContextManager[None], tp.ContextManager[None]]:
        modules = [_Module.of(module, copies=True) for module in block.modules()]
        return contextlib.nullcontext(), _again(_as_they_were(modules), dropout.repeated())
    return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts)


def set_recomputation(blocks: tp.Iterable[nn.Module], on: bool = True) -> None:
    """Switch activation checkpointing of each of `blocks` on or off. Names of modules and parameters stay the same.

    Args:
        blocks: modules without a common part. Their forward passes return tensors, or tuples of tensors and None.
    """
    for block in blocks:
        if on:
            block.forward = functools.partial(_recomputed, block)        # type: ignore[method-assign]
        else:
            vars(block).pop("forward", None)
