"""Parts of a hybrid model whose parameters have the names of published weights: they belong to the model itself."""

import typing as tp

import torch
from torch import nn
from torch.nn import functional as F

MOMENTUM = 0.9        # of the moving average of softmax weights
SHARE = 0.1           # of the present weights in those used in training; the remainder is their moving average


class Part(nn.Module):
    """Module that can give its children, parameters and buffers to the model, under the same names. Afterwards it uses
    those of the model, so that they exist once: moving the model to another device, or replacing one of its modules,
    takes effect here."""

    def give_to(self, model: nn.Module) -> None:
        """Move all children, parameters and buffers to `model`.

        Raises:
            ValueError: for a name that the model has already.
        """
        for kind, register in ((self._modules, model.add_module), (self._parameters, model.register_parameter),
                               (self._buffers, model.register_buffer)):
            for name, value in kind.items():
                if hasattr(model, name):
                    raise ValueError(f"the model has two parts called {name!r}; give one of them another name")
                register(name, value)
            kind.clear()
        self._owner = (model,)               # a tuple hides the model from torch, which would take it for a child

    def __getattr__(self, name: str) -> tp.Any:
        owner, = self.__dict__.get("_owner", (None,))
        if owner is not None and any(name in kind for kind in (owner._modules, owner._parameters, owner._buffers)):
            return getattr(owner, name)
        return super().__getattr__(name)

    def softmax_weights(self) -> tp.Dict[str, torch.Tensor]:
        """Softmax weights in evaluation by the name of their parameter: [R], or [S, R] for weights per source. By
        default there are none."""
        return {}

    def gate_values(self) -> tp.Dict[str, float]:
        """Values of learnt gates by the name of their parameter. By default there are none."""
        return {}

    @property
    def trains(self) -> bool:
        """Whether the model is in training mode."""
        owner, = self.__dict__.get("_owner", (self,))
        return owner.training


class SoftmaxWeights:
    """Softmax over the last axis of a learned tensor, with an exponential moving average.

    In training mode, the weights in use are the present ones and their moving average in a fixed ratio, so that they
    change slowly, and their gradient is scaled by that ratio. In evaluation mode they are the present ones.

    Args:
        part: the part that the tensors belong to.
        shape: of the learned tensor, which is uniform at first.
        parameter, average: names of the learned tensor and of the buffer with the moving average.
    """

    def __init__(self, part: Part, shape: tp.Sequence[int], *, parameter: str, average: str):
        self.part, self.parameter, self.average = part, parameter, average
        uniform = torch.full(tuple(shape), 1 / shape[-1])
        part.register_parameter(parameter, nn.Parameter(uniform))
        part.register_buffer(average, uniform.clone())

    def __call__(self) -> torch.Tensor:
        """The weights in use."""
        weights = self.present
        return SHARE * weights + (1 - SHARE) * getattr(self.part, self.average) if self.part.trains else weights

    @property
    def present(self) -> torch.Tensor:
        """The present weights, which are used in evaluation."""
        return F.softmax(getattr(self.part, self.parameter), dim=-1)

    @torch.no_grad()
    def update(self) -> None:
        """Update the moving average, in place."""
        average = getattr(self.part, self.average)
        average.lerp_(self.present, 1 - MOMENTUM)
