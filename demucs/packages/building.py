"""Construction of the model of a file from its name, arguments and weights, all of them untrusted."""

import logging
import math
import typing as tp
from pathlib import Path

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ..errors import PackageError, quoted
from ..models import zoo
from . import quantised, weights

logger = logging.getLogger(__name__)

BITS_SUFFIX = "_diffq"      # suffix of the parameters that DiffQ adds in training: bits per group of weights
LAYERS = ("depth", "multi_freqs_depth", "dconv_depth", "lstm_layers", "t_layers", "nb_layers")
MOST_LAYERS = 64             # published models have at most six levels
MOST_ITEMS = 256             # maximum length of a list argument, such as the sources
SPARE = 10 ** 7              # elements that a constructor may need in addition to weights: positions, masks, windows
LEAST_BITS = 0.5             # minimum bits per weight in a file; quantisers go down to 1


def model_of(name: str, kwargs: tp.Mapping[str, tp.Any], state: tp.Any, path: Path) -> nn.Module:
    """New model of the zoo called `name`, with the constructor arguments `kwargs` and the weights `state` (plain or
    quantised), in evaluation mode on the CPU. All three come from the file `path` and are untrusted.

    A quantised model keeps its stored form as attribute `quantised_state`, so that it can be exported again without
    change.

    Raises:
        PackageError: if arguments or weights are malformed or do not fit together.
    """
    if quantised.is_quantised(state):
        model = build(name, kwargs, elements=int(8 / LEAST_BITS * path.stat().st_size), path=path)
        quantised.restore(model, state, path)
        model.quantised_state = state
    else:
        state = weights.checked_state(state, path)
        model = build(name, kwargs, elements=sum(tensor.numel() for tensor in state.values()), path=path)
        fill(model, state, path)
    return model.eval()


def requantised(model: nn.Module, state: quantised.State) -> nn.Module:
    """New model like `model`, with the quantised weights `state` in float32. `model` is not changed.

    Raises:
        PackageError: if the state is malformed or does not fit the model.
    """
    with torch.random.fork_rng(devices=[]):
        copy = zoo.build(model.zoo_name, **model.zoo_kwargs)
    quantised.restore(copy, state, model.zoo_name)
    return copy


class _Allowance(TorchFunctionMode):
    """Limit on new tensors: raises ValueError before more than `elements` elements in total are allocated."""

    SIZED = (torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn)

    def __init__(self, elements: int) -> None:
        super().__init__()
        self.left = elements

    def __torch_function__(self, function: tp.Callable[..., tp.Any], types: tp.Any, args: tp.Any = (),
                           kwargs: tp.Optional[tp.Dict[str, tp.Any]] = None) -> tp.Any:
        kwargs = kwargs or {}
        if function in self.SIZED:
            size = args or (kwargs["size"],)
            size = size[:1] if function is torch.full else size
            self.left -= torch.empty(*size, device="meta").numel()
        elif function is torch.arange:
            start, end, step = (0, args[0], 1) if len(args) == 1 else (*args, 1)[:3]
            self.left -= math.ceil((end - start) / step)      # a meta tensor would cost the import of sympy, a second
        if self.left < 0:
            raise ValueError("its arguments ask for many times the memory that its weights take")
        return function(*args, **kwargs)


def build(name: str, kwargs: tp.Mapping[str, tp.Any], *, elements: int, path: Path) -> nn.Module:
    """New model of the zoo called `name`, with random weights, whose arguments `kwargs` come from the file `path`.
    `elements` is the number of values of its weights in that file.

    Raises:
        PackageError: if the arguments are invalid, or would build a model far larger than the weights.
    """
    for key, value in kwargs.items():
        if key in LAYERS and isinstance(value, (int, float)) and value > MOST_LAYERS:
            raise PackageError(f"{path}: its model cannot be built: {key}={quoted(value)} is beyond {MOST_LAYERS}")
        if isinstance(value, list) and len(value) > MOST_ITEMS:
            raise PackageError(f"{path}: its model cannot be built: {quoted(key)} has {len(value)} items; {MOST_ITEMS} "
                               f"are the most")
    try:
        # Random initial weights are drawn, which must not advance the caller's random generator.
        with torch.random.fork_rng(devices=[]), _Allowance(2 * elements + SPARE):
            return zoo.build(name, **kwargs)
    except Exception as error:   # a constructor may raise any exception for invalid arguments
        raise PackageError(f"{path}: its model cannot be built: {quoted(error)}") from error


def fill(model: nn.Module, state: weights.State, path: Path) -> None:
    """Set all weights of `model` from `state`, which comes from the file `path`. Parameters of DiffQ are ignored, and
    names of older model classes are translated.

    Raises:
        PackageError: with the weights that are missing, unknown, or of another shape.
    """
    expected = model.state_dict()
    state = _current(state, expected, path)
    faults = weights.differences(expected, state)
    if faults:
        raise PackageError(f"{path}: its weights do not fit the model it names: {faults}; export it again")
    model.load_state_dict(state)


def _current(state: weights.State, expected: weights.State, path: Path) -> weights.State:
    """`state` without the parameters of DiffQ, and with parameter names of older model classes translated."""
    bits = [name for name in state if name.endswith(BITS_SUFFIX) and name not in expected]
    if bits:
        logger.warning("%s: trained with DiffQ; its weights are read as they are, without their numbers of bits", path)
    renamed = {}
    for name, tensor in state.items():
        part, level, index, rest = (name.split(".", 3) + [""] * 3)[:4]
        newer = f"{part}.{level}.3.{rest}"     # older models have no normalisation modules in a level
        older = index == "2" and name not in expected and newer in expected and newer not in state
        if name not in bits:
            renamed[newer if older else name] = tensor
    return renamed
