"""Constants of computations on an accelerator, such that the host does not wait for it."""

import torch


def to_device(x: torch.Tensor, device: torch.device) -> torch.Tensor:
    """`x`, a tensor on the CPU, on `device`. The host does not wait for the copy to a GPU."""
    if device.type == "cuda":
        x = x.pin_memory()        # a copy from other memory waits for all that the GPU has to do before
    return x.to(device, non_blocking=True)


def may_store(like: torch.Tensor) -> bool:
    """Whether a constant for operations with `like` may be stored for later calls: these are not traced, compiled or
    exported, where it would belong to one graph, and `like` is no fake tensor."""
    return (type(like) in (torch.Tensor, torch.nn.Parameter)
            and not (torch.jit.is_tracing() or torch.compiler.is_compiling() or torch.compiler.is_exporting()))
