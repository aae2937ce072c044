"""Condition for optimised CPU implementations that change the order of floating point operations."""

import torch


def eager_on_cpu(x: torch.Tensor) -> bool:
    """Whether an implementation that is only for CPUs without gradients may process `x`: `x` is on a CPU, gradients are
    disabled (`torch.no_grad`), and no graph is traced, compiled or exported, which must be valid for other devices,
    too."""
    return (not torch.is_grad_enabled() and x.device.type == "cpu"
            and not (torch.jit.is_tracing() or torch.compiler.is_compiling() or torch.compiler.is_exporting()))
