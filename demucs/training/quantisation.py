"""Quantisation-aware training with the diffq package.

DiffQ (Défossez, Adi and Synnaeve 2021, arXiv:2104.09987) learns the number of bits of each group of weights. During
training it adds noise as large as the rounding errors, which is differentiable with respect to the number of bits, and
the size of the model is part of the loss. Uniform quantisation uses the same number of bits for all weights.

The numbers of bits are parameters of the model, called `<weight>_diffq`. They are in its state, in that of its averages
and in checkpoints, with the names and the order of published Demucs. Weights are quantised for validation and tests and
in exported models, never in checkpoints.
"""

import contextlib
import dataclasses
import typing as tp

import torch
from torch import nn

from ..dsp.randomness import seeded_torch
from ..errors import ConfigError

FLOATS_PER_MIB = 2 ** 18     # of float32; published Demucs and diffq call 2 ** 20 bytes a MB


@dataclasses.dataclass(frozen=True)
class QuantSettings:
    """Settings of quantisation-aware training: section `quant` of the configuration.

    Args:
        diffq: weight of the model's size in MiB in the loss; None or 0 for no DiffQ.
        qat: bits per weight of uniform quantisation, 1 to 15; None or 0 for none.
        straight_through: with `qat`, quantise during training too, with the straight-through estimator for gradients.
            Published Demucs quantises for validation, tests and export only.
        min_size: size in MiB of float32 above which a parameter is quantised.
        group_size: with `diffq`, number of weights that share a number of bits; it must divide the size of every
            quantised parameter.
    """
    diffq: tp.Optional[float]
    qat: tp.Optional[int]
    straight_through: bool
    min_size: float
    group_size: int

    def check(self) -> None:
        """Check of settings that does not depend on the model.

        Raises:
            ConfigError: for both kinds of quantisation at once, or a value outside its range.
        """
        if self.diffq and self.qat:
            raise ConfigError(f"quant.diffq={self.diffq} and quant.qat={self.qat}: a model is quantised in one way; "
                              f"leave one of them empty")
        if self.diffq is not None and self.diffq < 0:
            raise ConfigError(f"quant.diffq={self.diffq} must be positive: it is the weight of the model's size in MiB "
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
    """Quantisation of a model in training. Created by `build`.

    The hooks that diffq installs around each forward pass would quantise the weights again for every segment in
    evaluation. They are removed, and replaced by two contexts: `in_training` for a training forward pass, `rounded` for
    a whole evaluation. Outside of both the model has its float32 weights.

    Args:
        quantizer: a new diffq quantizer of the model.
        weight: weight of the model's size in MiB in the loss; 0 for none.
        seed: seed of the noise; the same on all ranks.
    """

    def __init__(self, quantizer: tp.Any, *, weight: float, seed: int):
        from diffq.base import BaseQuantizer
        BaseQuantizer.detach(quantizer)     # removes the hooks; DiffQ's own `detach` would remove the bits, too
        self.quantizer = quantizer
        self.weight = weight
        self.seed = seed

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return next(self.quantizer.model.parameters()).device

    @property
    def bits(self) -> tp.Dict[str, nn.Parameter]:
        """Learnt parameters that determine the numbers of bits (DiffQ), by parameter name; empty for uniform
        quantisation. An exported model does not have them."""
        learnt = {id(part.logit) for part in self.quantizer._qparams if hasattr(part, "logit")}
        return {name: parameter for name, parameter in self.quantizer.model.named_parameters()
                if id(parameter) in learnt}

    def size(self) -> torch.Tensor:
        """Size of the quantised model in MiB, without the overhead of a file. With DiffQ it is differentiable, and
        counts fractional numbers of bits, which packing rounds."""
        return self.quantizer.model_size().to(self.device)

    @contextlib.contextmanager
    def in_training(self, epoch: int, step: int) -> tp.Iterator[None]:
        """Context of a training forward pass: the weights have noise (DiffQ) or are quantised (`straight_through`);
        with uniform quantisation alone they are unchanged. Gradients go to the float32 weights.

        The noise is keyed by (seed, epoch, step), so it is the same on all ranks.
        """
        with seeded_torch(self.seed, "diffq", epoch, step, device=self.device):
            changed = self.quantizer._pre_forward_train()
        if changed:
            self._copy_recurrent_weights()
        try:
            yield
        finally:
            self.quantizer._post_forward_train()

    @contextlib.contextmanager
    def rounded(self) -> tp.Iterator[None]:
        """Context in which the model has its quantised weights, as after export and loading. The model must be in
        evaluation mode; there are no gradients."""
        with self.quantizer.enter_quantize():
            yield

    def _copy_recurrent_weights(self) -> None:
        """Copy the noisy weights of recurrent layers. On a GPU these layers move their weights into one buffer; for a
        tensor that is a view of another, as DiffQ's noisy weights are, autograd would then silently compute a wrong
        gradient."""
        for part in self.quantizer._qparams:
            if isinstance(part.module, nn.RNNBase):
                weights = part.module._parameters
                weights[part.name] = weights[part.name].clone()


def rounded(quantisation: tp.Optional[Quantisation]) -> tp.ContextManager[None]:
    """Context in which the model of `quantisation` has its quantised weights; without quantisation (None), one without
    effect."""
    return contextlib.nullcontext() if quantisation is None else quantisation.rounded()


def build(model: nn.Module, settings: QuantSettings, optimizer: torch.optim.Optimizer, *, seed: int
          ) -> tp.Optional[Quantisation]:
    """Quantisation of `model` with these `settings`; None if they ask for none.

    With DiffQ the numbers of bits become parameters of the model, on its device, and a last parameter group of
    `optimizer`, with a learning rate of 1e-3 and without weight decay. Averages and distributed wrappers must therefore
    be created after this. `seed` is that of the noise.

    Raises:
        ConfigError: if the settings are invalid or do not fit the model, or diffq is not installed.
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
              if parameter.numel() > settings.min_size * FLOATS_PER_MIB // 1}     # counted as diffq does
    if not chosen:
        largest = max(sizes, key=lambda name: sizes[name])
        raise ConfigError(f"quant.min_size={settings.min_size} MiB leaves nothing to quantise: the largest weight, "
                          f"{largest}, has {sizes[largest] / FLOATS_PER_MIB:.3g} MiB; lower it")
    for name, parameter in chosen.items():
        if settings.diffq and sizes[name] % settings.group_size:
            raise ConfigError(f"quant.group_size={settings.group_size} does not divide {name} with its {sizes[name]} "
                              f"weights; choose another, or a quant.min_size (now {settings.min_size} MiB) above "
                              f"{sizes[name] / FLOATS_PER_MIB:.3g}")
        if bool(parameter.detach().min() == parameter.detach().max()):
            raise ConfigError(f"quant.min_size={settings.min_size} MiB: {name} would be quantised, but all its weights "
                              f"are equal, so it has no range to divide; raise it above "
                              f"{sizes[name] / FLOATS_PER_MIB:.3g}")
