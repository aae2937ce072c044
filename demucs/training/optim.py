"""Optimisers, built from plain numbers."""

import typing as tp

import torch
from torch import nn

from ..errors import ConfigError


def build_optimizer(model: nn.Module, *, kind: str, lr: float, momentum: float, beta2: float, weight_decay: float
                    ) -> torch.optim.Optimizer:
    """New optimiser of all parameters of `model`, with parameter groups in the order of published Demucs.

    The parameters of a module with a method `make_optim_group() -> dict` are a separate group.

    Args:
        model: its parameters are registered, not changed.
        kind: "adam" or "adamw".
        lr: learning rate.
        momentum, beta2: decay of the first and of the second moment.
        weight_decay: as in torch.

    Raises:
        ConfigError: for another kind.
    """
    groups: tp.List[tp.Dict[str, tp.Any]] = []
    grouped: tp.Set[nn.Parameter] = set()
    for module in model.modules():
        if hasattr(module, "make_optim_group"):
            group = module.make_optim_group()
            grouped |= set(group["params"])
            groups.append(group)
    rest = [parameter for parameter in model.parameters() if parameter not in grouped]
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    if kind not in kinds:
        raise ConfigError(f"optim.optim={kind!r} is unknown; use one of {', '.join(kinds)}")
    return kinds[kind]([{"params": rest}, *groups], lr=lr, betas=(momentum, beta2), weight_decay=weight_decay)


def gradient_norm(model: nn.Module) -> torch.Tensor:
    """Euclidean norm of the concatenated gradients of all parameters that have one, a scalar."""
    norms = [parameter.grad.norm() for parameter in model.parameters() if parameter.grad is not None]
    return torch.stack(norms).norm()
