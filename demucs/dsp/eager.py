"""Condition for optimised CPU implementations that change the order of floating point operations."""

import contextlib
import typing as tp

import torch

_allowed = [True]


def eager_on_cpu(x: torch.Tensor, *, gradients: bool = False) -> bool:
    """Whether an implementation that is only for CPUs may process `x`: `x` is on a CPU, gradients are disabled
    (`torch.no_grad`) unless the implementation has `gradients`, and no graph is traced, compiled or exported, which must
    be valid for other devices, too."""
    return (_allowed[-1] and (gradients or not torch.is_grad_enabled()) and x.device.type == "cpu"
            and not (torch.jit.is_tracing() or torch.compiler.is_compiling() or torch.compiler.is_exporting()))


@contextlib.contextmanager
def as_on_other_devices() -> tp.Iterator[None]:
    """Context in which a CPU makes the operations of other devices, to count what they take. Not for several threads."""
    _allowed.append(False)
    try:
        yield
    finally:
        _allowed.pop()
