"""Mixed precision of training: autocast around the forward pass, and the loss scale of float16.

Weights, gradients of weights, optimiser, averages, the loss and its penalties are float32. Within the model autocast
chooses the type of each operation: convolutions and matrix products are computed in 16 bits, and their results are
stored in 16 bits; LSTMs and spectrograms are computed in float32.
"""

import typing as tp

import torch
from torch import nn

from ..errors import ConfigError, did_you_mean

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
PRECISIONS = ("float32", *DTYPES)
CPU = torch.device("cpu")


def check_precision(name: str) -> None:
    """Raise ConfigError for an unknown precision of training."""
    if name not in PRECISIONS:
        raise ConfigError(f"optim.precision={name!r} is unknown; use one of {', '.join(PRECISIONS)}."
                          f"{did_you_mean(str(name), PRECISIONS)}")


class LossScale:
    """Dynamic loss scale of float16 (Micikevicius et al. 2018, "Mixed precision training", section 3.2).

    The loss is multiplied by the scale, and the gradients are divided by it after the backward pass, so that gradients
    below the range of float16 are not lost. A step whose gradients overflow is skipped and halves the scale; 2000
    steps without overflow double it. These are the rules and numbers of `torch.amp.GradScaler`, except that the scale
    stays between `LEAST` and `MOST`, and that the caller decides whether gradients are finite: that is one decision of
    all ranks.
    """

    LEAST, MOST = 1., 2. ** 40
    PATIENCE = 2000              # steps without overflow before the scale is doubled

    def __init__(self, scale: float = 2. ** 16):
        self.scale = scale
        self.good_steps = 0

    @property
    def is_least(self) -> bool:
        """Whether the scale cannot be lowered any more, so that an overflow is one of the gradients themselves."""
        return self.scale <= self.LEAST

    def update(self, finite: bool) -> None:
        """Adapt the scale after a step whose gradients were `finite` or not."""
        if not finite:
            self.scale, self.good_steps = max(self.LEAST, self.scale / 2), 0
            return
        self.good_steps += 1
        if self.good_steps == self.PATIENCE:
            self.scale, self.good_steps = min(self.MOST, self.scale * 2), 0

    def state_dict(self) -> tp.Dict[str, tp.Any]:
        return {"scale": self.scale, "good_steps": self.good_steps}

    def load_state_dict(self, state: tp.Mapping[str, tp.Any]) -> None:
        scale, good_steps = float(state["scale"]), int(state["good_steps"])
        if not (self.LEAST <= scale <= self.MOST and 0 <= good_steps < self.PATIENCE):
            raise ValueError(f"a loss scale of {scale:g} after {good_steps} steps is out of range")
        self.scale, self.good_steps = scale, good_steps


class _Autocast(nn.Module):
    """A model whose forward pass runs under autocast and returns float32. The model is not registered as a child."""

    def __init__(self, model: nn.Module, device: torch.device, dtype: torch.dtype):
        super().__init__()
        self._model = (model,)
        self._context: tp.Callable[[], tp.ContextManager[tp.Any]] = lambda: torch.autocast(device.type, dtype)

    def forward(self, *args: tp.Any, **kwargs: tp.Any) -> torch.Tensor:
        with self._context():
            return self._model[0](*args, **kwargs).float()


class Precision:
    """Numerical precision of the training of a model on `device`.

    Attributes:
        name: "float32", "bf16" or "fp16".
        loss_scale: of "fp16"; None for the others, whose range is that of float32.

    Raises:
        ConfigError: for an unknown precision, or one that the device does not support.
    """

    def __init__(self, name: str = "float32", device: torch.device = CPU):
        check_precision(name)
        if name == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
            raise ConfigError(f"optim.precision=bf16: {torch.cuda.get_device_name(device)} has no bfloat16 arithmetic "
                              f"(NVIDIA GPUs from Ampere on have it); use fp16 or float32")
        self.name = name
        self.device = device
        self.loss_scale = LossScale() if name == "fp16" else None

    def forward_of(self, model: nn.Module) -> nn.Module:
        """A module whose forward pass is that of `model` in this precision; `model` itself for float32."""
        return _Autocast(model, self.device, DTYPES[self.name]) if self.name in DTYPES else model

    def scaled(self, loss: torch.Tensor) -> torch.Tensor:
        """The loss whose gradients are computed."""
        return loss if self.loss_scale is None else loss * self.loss_scale.scale

    @torch.no_grad()
    def unscale(self, model: nn.Module) -> None:
        """Divide the gradients of `scaled` losses by the loss scale, in place. Exact, as it is a power of two."""
        if self.loss_scale is not None:
            gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
            torch._foreach_mul_(gradients, 1 / self.loss_scale.scale)

    def may_skip(self) -> bool:
        """Whether a step with gradients that are not finite is skipped rather than an error."""
        return self.loss_scale is not None and not self.loss_scale.is_least

    @property
    def advice(self) -> str:
        """Suffix of a message about values that are not finite; "" unless the precision may be the reason."""
        return "" if self.loss_scale is None else \
            " With optim.precision=fp16, values in the model above 65504 are infinite: bf16 and float32 have room for them."
