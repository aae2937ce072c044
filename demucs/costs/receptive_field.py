"""Receptive field of a model in time, measured by gradients: on which samples of the mixture a sample of the estimates
depends.

Convolutions and transforms have a context of a fixed length. Attention, LSTMs, and normalisations by the mean and
standard deviation of a segment have not: through them a sample depends on the whole segment. They are held constant for
the gradients, and reported by name.
"""

import contextlib
import dataclasses
import typing as tp

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ..dsp.eager import as_on_other_devices
from ..errors import ConfigError
from ..models.protocol import SeparationModel
from ..schema import ModelCost
from .subject import Subject

ATTENTION, LSTM, NORMALISATION = "attention", "LSTM", "normalisation"
STATISTICS = ("mean", "std", "var", "std_mean", "var_mean")
PRODUCTS = ("matmul", "__matmul__", "bmm", "einsum")
WIDTHS = (8, 16, 32, 64)         # channels of the narrow models that are measured
SHORTEST, LONGEST = 2., 64.      # seconds of the mixture in a measurement
# Samples of the estimates that are probed, and their distance. The context repeats with the hop, so for hops of up to
# 4096 samples it is at most `APART` samples longer for any other sample.
PROBES, APART = 4, 1025


class Context(tp.NamedTuple):
    """Samples of the mixture before and after a sample of the estimates that it depends on, in the worst case of
    `PROBES`, and the operations that add a dependence on the whole segment."""
    before: int
    after: int
    spanning: tp.List[str]


class _Held(TorchFunctionMode):
    """Context in which operations over the whole segment have no gradient, if only the mixture has one. Results are
    meaningless."""

    def __init__(self) -> None:
        super().__init__()
        self.spanning: tp.Set[str] = set()

    def __torch_function__(self, func: tp.Any, types: tp.Any, args: tp.Any = (), kwargs: tp.Any = None) -> tp.Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in ("group_norm", "instance_norm"):
            self.spanning.add(NORMALISATION)
            normalised = func(args[0].detach(), *args[1:], **kwargs)
            return normalised + (args[0] - args[0].detach())
        if name == "scaled_dot_product_attention":
            self.spanning.add(ATTENTION)
            return args[0].new_zeros(*args[0].shape[:-1], args[2].shape[-1])
        out = func(*args, **kwargs)
        if name in STATISTICS and self._over_time(args, kwargs):
            self.spanning.add(NORMALISATION)
            return tuple(each.detach() for each in out) if isinstance(out, tuple) else out.detach()
        if name in PRODUCTS and sum(isinstance(each, torch.Tensor) and each.requires_grad for each in args) > 1:
            self.spanning.add(ATTENTION)         # a product of two activations, as of queries and keys
            return out.detach()
        return out

    @staticmethod
    def _over_time(args: tp.Any, kwargs: tp.Any) -> bool:
        """Whether a sum over dimensions includes the last one, which is time."""
        dims = kwargs.get("dim", args[1] if len(args) > 1 else None)
        dims = range(args[0].dim()) if dims is None else [dims] if isinstance(dims, int) else dims
        return args[0].requires_grad and any(dim in (-1, args[0].dim() - 1) for dim in dims)

    @contextlib.contextmanager
    def holding(self) -> tp.Iterator[None]:
        """This context, in which an output of an LSTM depends on the input of the same time step only."""
        own = nn.LSTM.forward

        def forward(lstm: nn.LSTM, x: torch.Tensor, hx: tp.Any = None) -> tp.Tuple[torch.Tensor, None]:
            self.spanning.add(LSTM)
            width = lstm.hidden_size * (2 if lstm.bidirectional else 1)
            return x.sum(-1, keepdim=True).expand(*x.shape[:-1], width), None
        nn.LSTM.forward = forward                          # type: ignore[method-assign, assignment]
        try:
            with self:
                yield
        finally:
            nn.LSTM.forward = own                          # type: ignore[method-assign]


def with_context(found: ModelCost, subject: Subject) -> ModelCost:
    """`found` with context, receptive field and latency of the model. Raises ConfigError, see `measured`."""
    context = measured(subject)
    rate = subject.arguments()["samplerate"]
    total, ahead = (context.before + 1 + context.after) / rate, context.after / rate
    return dataclasses.replace(found, context=total, look_ahead=ahead, spans_segment=context.spanning,
                               receptive_field=found.segment if context.spanning else total,
                               latency=found.segment if context.spanning else ahead)


def measured(subject: Subject) -> Context:
    """Context of a model, measured with random weights and as few channels as it can have, on which the context does
    not depend. Raises ConfigError, see `zoo.build`, and for a context longer than `LONGEST`."""
    seconds = SHORTEST
    while seconds <= LONGEST:
        model = _narrow(subject, seconds).double()          # in which no derivative is rounded to zero
        found = of_model(model, int(seconds * model.samplerate))
        if found is not None:
            return found
        seconds *= 2
    raise ConfigError(f"model {subject.model!r}: a sample of its estimates depends on more than {LONGEST:g} s of the "
                      f"mixture")


def of_model(model: SeparationModel, length: int) -> tp.Optional[Context]:
    """Context of a model on a mixture of `length` samples; None if that is too short to contain it."""
    held = _Held()
    model.requires_grad_(False).eval()
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(1, model.audio_channels, length, generator=generator).to(next(model.parameters()))
    mix.requires_grad_()
    with as_on_other_devices(), held.holding():
        estimates = model(mix)
    before = after = 0
    for probe in range(PROBES):
        place = length // 2 + APART * (probe - PROBES // 2)
        gradient, = torch.autograd.grad(estimates[..., place].sum(), mix, retain_graph=probe < PROBES - 1)
        reached = gradient[0].any(0).nonzero().flatten()
        if not len(reached) or reached[0] == 0 or reached[-1] == length - 1:
            return None
        before, after = max(before, place - int(reached[0])), max(after, int(reached[-1]) - place)
    return Context(before, after, sorted(held.spanning))


def _narrow(subject: Subject, segment: float) -> SeparationModel:
    """The model with the smallest possible number of channels, and a segment of another length."""
    own = subject.arguments().get("channels", max(WIDTHS) + 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for width in WIDTHS:
            if width < own:
                with contextlib.suppress(ConfigError):       # such as that the heads do not divide it
                    return subject.build(segment=segment, channels=width)
        return subject.build(segment=segment)
