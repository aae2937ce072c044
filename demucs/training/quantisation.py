"""Training for few bits per weight, through the diffq package.

DiffQ (Défossez, Adi and Synnaeve 2021, arXiv:2104.09987) learns how many bits each group of weights needs: while
training it adds noise as large as rounding would do harm, which is differentiable in the number of bits, and the loss
counts the size of the model. Uniform quantisation has the same number of bits everywhere.

The numbers of bits are parameters of the model, called `<weight>_diffq`: they are in its state, in that of its averages
and in checkpoints, under the names and in the order of published Demucs. Weights are rounded for validation and tests
and in what is exported, never in checkpoints.
"""

import contextlib
import dataclasses
import typing as tp

import torch
from torch import nn

from ..dsp.randomness import seeded_torch
from ..errors import ConfigError

FLOATS_PER_MB = 2 ** 18


@dataclasses.dataclass(frozen=True)
class QuantSettings:
    """The `quant` section of the configuration.

    Args:
        diffq: weight of the model's size in MB in the loss; None or 0 for no DiffQ.
        qat: bits per weight of uniform quantisation; None or 0 for none.
        straight_through: with `qat`, round while training too, with gradients as if there was no rounding. Published
            Demucs rounds for validation, tests and export only, and trains on as if nothing happened.
        min_size: MB of float32 from which on a weight is quantised.
        group_size: weights that share a number of bits; it must divide the size of every quantised weight.
    """
    diffq: tp.Optional[float]
    qat: tp.Optional[int]
    straight_through: bool
    min_size: float
    group_size: int

    def check(self) -> None:
        """Raises ConfigError for what cannot work with any model."""
        if self.diffq and self.qat:
            raise ConfigError(f"quant.diffq={self.diffq} and quant.qat={self.qat}: a model is quantised in one way; "
                              f"leave one of them empty")
        if self.diffq is not None and self.diffq < 0:
            raise ConfigError(f"quant.diffq={self.diffq} must be positive: it is the weight of the model's size in MB "
                              f"in the loss, e.g. 1e-4; leave it empty for no DiffQ")
        if self.qat and not 1 <= self.qat <= 15:
            raise ConfigError(f"quant.qat={self.qat} must be a number of bits from 1 to 15; leave it empty for no "
                              f"uniform quantisation")
        if self.straight_through and not self.qat:
            raise ConfigError("quant.straight_through=true belongs to quant.qat, which is empty; set it, for instance "
                              "quant.qat=8")
        if self.min_size < 0:
            raise ConfigError(f"quant.min_size={self.min_size} must be at least 0")
        if self.group_size < 1:
            raise ConfigError(f"quant.group_size={self.group_size} must be at least 1")


class Quantisation:
    """The quantizer of a model in training; `build` makes it.

    diffq works by hooks around each forward pass, which round the weights anew for every segment in evaluation. Here
    they are gone, and the passes say what they need: `in_training` around a training forward pass, `rounded` around all
    of an evaluation. Outside of both the model has its plain weights.

    Args:
        quantizer: a quantizer of diffq, fresh, for `model`.
        weight: of the size of the model in the loss.
        seed: of the noise; the same on all ranks.
    """

    def __init__(self, quantizer: tp.Any, *, weight: float, seed: int):
        from diffq.base import BaseQuantizer
        BaseQuantizer.detach(quantizer)     # takes the hooks away, and unlike DiffQ's own leaves the bits
        self.quantizer = quantizer
        self.weight = weight
        self.seed = seed

    @property
    def device(self) -> torch.device:
        return next(self.quantizer.model.parameters()).device

    @property
    def bits(self) -> tp.Dict[str, nn.Parameter]:
        """The learnt numbers of bits by name: parameters of the model that an exported one does not have."""
        learnt = {id(part.logit) for part in self.quantizer._qparams if hasattr(part, "logit")}
        return {name: parameter for name, parameter in self.quantizer.model.named_parameters()
                if id(parameter) in learnt}

    def size(self) -> torch.Tensor:
        """Size of the quantised model in MB, without a container around it. DiffQ's can be differentiated; it counts
        fractions of bits, where packing rounds them."""
        return self.quantizer.model_size().to(self.device)

    @contextlib.contextmanager
    def in_training(self, epoch: int, step: int) -> tp.Iterator[None]:
        """The model has noisy weights (DiffQ) or rounded ones (straight through) inside the block, and its own with
        plain uniform quantisation. Gradients go to its own.

        The noise belongs to (seed, epoch, step), so it is the same on all ranks.
        """
        with seeded_torch(self.seed, "diffq", epoch, step, device=self.device):
            changed = self.quantizer._pre_forward_train()
        if changed:
            self._own_recurrent_weights()
        try:
            yield
        finally:
            self.quantizer._post_forward_train()

    @contextlib.contextmanager
    def rounded(self) -> tp.Iterator[None]:
        """The model has its quantised weights inside the block, as if it had been exported and loaded. It must be in
        evaluation mode, and no gradients flow."""
        with self.quantizer.enter_quantize():
            yield

    def _own_recurrent_weights(self) -> None:
        """Recurrent layers on a GPU move their weights into one buffer before they run. Of a tensor that is a view of
        another, as DiffQ's noisy weights are, autograd would then compute another gradient, without a word."""
        for part in self.quantizer._qparams:
            if isinstance(part.module, nn.RNNBase):
                weights = part.module._parameters
                weights[part.name] = weights[part.name].clone()


def rounded(quantisation: tp.Optional[Quantisation]) -> tp.ContextManager[None]:
    """`quantisation.rounded()`, or a block in which nothing happens where there is none."""
    return contextlib.nullcontext() if quantisation is None else quantisation.rounded()


def build(model: nn.Module, settings: QuantSettings, optimizer: torch.optim.Optimizer, *, seed: int
          ) -> tp.Optional[Quantisation]:
    """Quantisation of `model` as `settings` say, or None for none.

    With DiffQ the model gets its bits as further parameters, on its device, and the optimiser a last group for them,
    with a learning rate of 1e-3 and without weight decay. So build averages and distributed wrappers after this.

    Raises:
        ConfigError: where the settings do not fit the model, or diffq is not installed.
    """
    settings.check()
    if not settings.diffq and not settings.qat:
        return None
    _check_fit(model, settings)
    what = f"quant.diffq={settings.diffq}" if settings.diffq else f"quant.qat={settings.qat}"
    try:
        import diffq
    except ImportError as error:
        raise ConfigError(f"{what} needs the diffq package, which is not installed: pip install diffq (it is compiled "
                          f"then, which needs a C compiler and Python's headers)") from error
    if settings.diffq:
        quantizer = diffq.DiffQuantizer(model, min_size=settings.min_size, group_size=settings.group_size)
        quantizer.setup_optimizer(optimizer)
    elif settings.straight_through:
        quantizer = diffq.UniformQuantizer(model, bits=settings.qat, min_size=settings.min_size, qat=True)
    else:
        quantizer = diffq.UniformQuantizer(model, bits=settings.qat, min_size=settings.min_size)
    return Quantisation(quantizer, weight=settings.diffq or 0., seed=seed)


def _check_fit(model: nn.Module, settings: QuantSettings) -> None:
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    chosen = {name: parameter for name, parameter in model.named_parameters()
              if parameter.numel() > settings.min_size * FLOATS_PER_MB // 1}     # counted as diffq does
    if not chosen:
        largest = max(sizes, key=lambda name: sizes[name])
        raise ConfigError(f"quant.min_size={settings.min_size} MB leaves nothing to quantise: the largest weight, "
                          f"{largest}, has {sizes[largest] / FLOATS_PER_MB:.3g} MB; lower it")
    for name, parameter in chosen.items():
        if settings.diffq and sizes[name] % settings.group_size:
            raise ConfigError(f"quant.group_size={settings.group_size} does not divide {name} with its {sizes[name]} "
                              f"weights; choose another, or a quant.min_size (now {settings.min_size} MB) above "
                              f"{sizes[name] / FLOATS_PER_MB:.3g}")
        if bool(parameter.detach().min() == parameter.detach().max()):
            raise ConfigError(f"quant.min_size={settings.min_size} MB: {name} would be quantised, but all its weights "
                              f"are equal, so it has no range to divide; raise it above "
                              f"{sizes[name] / FLOATS_PER_MB:.3g}")
