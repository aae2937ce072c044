"""Optimisers, built from plain numbers."""

import inspect
import typing as tp

import torch
from torch import nn

from ..errors import ConfigError

Optimizer = tp.TypeVar("Optimizer", bound=tp.Type[torch.optim.Optimizer])


def _without_compiler(optimizer: Optimizer) -> Optimizer:
    """`optimizer` without the decorators by which torch excludes its methods from `torch.compile`. Nothing is compiled
    here, and at their first call they import the compiler, with as many modules as the rest of a training."""
    for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        setattr(optimizer, name, inspect.unwrap(getattr(optimizer, name)))
    # One decorator of `step` disables gradients. That of the hooks is added by torch when an optimiser is built.
    setattr(optimizer, "step", torch.no_grad()(inspect.unwrap(optimizer.step)))

    def load_state_dict(self: torch.optim.Optimizer, state: tp.Mapping[str, tp.Any],
                        load: tp.Callable[..., None] = inspect.unwrap(optimizer.load_state_dict)) -> None:
        """`load_state_dict` of torch, but that a state from another device does not decide about `fused`."""
        own = [group["fused"] for group in self.param_groups]
        groups = [{**group, "fused": own[min(index, len(own) - 1)]}
                  for index, group in enumerate(state["param_groups"])]
        load(self, {**state, "param_groups": groups})
    setattr(optimizer, "load_state_dict", load_state_dict)
    return optimizer


@_without_compiler
class Adam(torch.optim.Adam):
    """Adam of torch."""


@_without_compiler
class AdamW(torch.optim.AdamW):
    """AdamW of torch."""


def build_optimizer(model: nn.Module, *, kind: str, lr: float, momentum: float, beta2: float, weight_decay: float,
                    fused: tp.Optional[bool] = None) -> torch.optim.Optimizer:
    """New optimiser of all parameters of `model`, with parameter groups in the order of published Demucs.

    The parameters of a module with a method `make_optim_group() -> dict` are a separate group.

    Args:
        model: its parameters are registered, not changed.
        kind: "adam" or "adamw".
        lr: learning rate.
        momentum, beta2: decay of the first and of the second moment.
        weight_decay: as in torch.
        fused: one kernel for all parameters, which also skips a step where the device has found a fault
            (`training.reports`), with other roundings. By default so on GPUs only.

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
    kinds = {"adam": Adam, "adamw": AdamW}
    if kind not in kinds:
        raise ConfigError(f"optim.optim={kind!r} is unknown; use one of {', '.join(kinds)}")
    if fused is None and next(model.parameters()).device.type != "cpu":
        fused = True
    return kinds[kind]([{"params": rest}, *groups], lr=lr, betas=(momentum, beta2), weight_decay=weight_decay,
                       fused=fused)


def gradient_norm(model: nn.Module) -> torch.Tensor:
    """Euclidean norm of the concatenated gradients of all parameters that have one, a scalar."""
    return nn.utils.get_total_norm([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
