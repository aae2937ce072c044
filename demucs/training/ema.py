"""Exponential moving averages of a model's weights, over batches or over epochs."""

import contextlib
import typing as tp

import torch
from torch import nn

from ..packages.weights import differences

State = tp.Dict[str, torch.Tensor]


def copy_state(state: tp.Mapping[str, torch.Tensor]) -> State:
    """Copy of a state dict, with all tensors on the CPU."""
    return {key: value.detach().to("cpu", copy=True) for key, value in state.items()}


@contextlib.contextmanager
def swapped(model: nn.Module, state: tp.Mapping[str, torch.Tensor]) -> tp.Iterator[None]:
    """Context in which the model has the weights in `state`, which may be some of its weights only; the others are
    unchanged. Its own weights are restored afterwards."""
    own = {key: value.detach().clone() for key, value in model.state_dict().items()}
    model.load_state_dict(dict(state), strict=False)
    try:
        yield
    finally:
        model.load_state_dict(own)


class ModelEMA:
    """Exponential moving average of a model's float32 parameters and buffers, kept on `device` in `state`. `decay` in
    [0, 1] applies per update. It starts with a copy of the model's weights, which the first update replaces.

    An update has the weight 1 / count with count -> decay * count + 1, so that the initial weights do not bias the
    average: after n updates it is the weighted mean of those n. In the limit, the weight of an update is 1 - decay.
    """

    def __init__(self, model: nn.Module, decay: float, *, device: tp.Union[str, torch.device]):
        self.model = model
        self.decay = decay
        self.count = 0.
        self.state: State = {key: value.detach().to(device, copy=True)
                             for key, value in model.state_dict().items() if value.dtype == torch.float32}

    @torch.no_grad()
    def update(self) -> None:
        """Add the model's present weights to the average."""
        self.count = self.count * self.decay + 1
        weight = 1 / self.count
        own = self.model.state_dict()
        averages = list(self.state.values())
        current = [own[key].detach().to(average.device) for key, average in self.state.items()]
        torch._foreach_mul_(averages, 1 - weight)
        torch._foreach_add_(averages, current, alpha=weight)

    def state_dict(self) -> tp.Dict[str, tp.Any]:
        """Average and count, for a checkpoint; the tensors are not copied."""
        return {"state": self.state, "count": self.count}

    def load_state_dict(self, saved: tp.Mapping[str, tp.Any]) -> None:
        """Copy average and count from `saved`. Raises ValueError if names or shapes differ from the model's."""
        faults = differences(self.state, saved["state"])
        if faults:
            raise ValueError(f"of its parameters {faults}")
        self.count = saved["count"]
        for key, value in saved["state"].items():
            self.state[key].copy_(value)
