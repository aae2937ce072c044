"""Quantised weights in the compact format of DiffQ (Défossez, Adi and Synnaeve 2021, arXiv:2104.09987).

Large parameters are stored as integer levels between their minimum and maximum. A uniform quantiser uses the same
number of bits for all of them; DiffQ uses a number of its own for each group of weights, between 1 and 14. The packed
format stores exactly these bits, in blocks of 2048 values: one plane of 32 words of 64 bits per bit of the levels, with
value 32 i + j in bit i of word j.

Files can be read without the diffq package, which is needed only for training with quantisation.
"""

import fnmatch
import math
import typing as tp
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..errors import PackageError, quoted
from .weights import is_weight

MARK = "__quantized"
PRECISION = "quantised"      # on release cards
DIFFQ, UNIFORM = "diffq.diffq.DiffQuantizer", "diffq.uniform.UniformQuantizer"
CLASSES = (DIFFQ, UNIFORM)
MOST_BITS = 14          # the packed format of DiffQ omits groups of 15 bits
LANES, WORD = 32, 64
State = tp.Dict[str, tp.Any]


def is_quantised(state: tp.Any) -> bool:
    """Whether the untrusted `state` of a file is marked as quantised weights."""
    return isinstance(state, dict) and type(state.get(MARK)) in (bool, int) and bool(state[MARK])


def packed(quantizer: tp.Any) -> State:
    """Packed quantised weights of the model of a diffq quantiser, as plain containers and CPU tensors. The model is not
    changed.

    Groups of 15 bits are stored with 14 bits, the maximum of the packed format. Raises PackageError for another kind of
    quantiser.
    """
    name = f"{type(quantizer).__module__}.{type(quantizer).__name__}"
    if name not in CLASSES:
        raise PackageError(f"weights quantised by {name} cannot be stored; there are: {', '.join(CLASSES)}")
    if name == DIFFQ:
        bits = quantizer._get_bits
        quantizer._get_bits = lambda logit: bits(logit).clamp(max=MOST_BITS - quantizer.extra_bits)
    try:
        state = _on_cpu(quantizer.get_quantized_state(packed=True))
    finally:
        if name == DIFFQ:
            del quantizer._get_bits      # restores the method of the class
    state["meta"]["klass"] = name
    return {**state, MARK: True}


def _on_cpu(value: tp.Any) -> tp.Any:
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if isinstance(value, dict):
        return {key: _on_cpu(item) for key, item in value.items()}
    return type(value)(_on_cpu(item) for item in value) if isinstance(value, (list, tuple)) else value


def restore(model: nn.Module, state: tp.Any, where: tp.Union[str, Path]) -> None:
    """Set the weights of `model` from a quantised state, packed or not.

    Args:
        model: newly built, on the CPU.
        state: untrusted dictionary with "quantized", "float16" and "others" (lists, in the order of the model's
            parameters) and "meta", where "klass" is the name of the quantiser's class and "init_kwargs" its settings.
        where: name of the file, for error messages.

    Raises:
        PackageError: if the state is malformed or belongs to another model.
    """
    try:
        meta = state["meta"]
        kind, settings, is_packed = meta["klass"], meta["init_kwargs"], meta.get("packed", False)
        if kind not in CLASSES or meta.get("torch_pack"):
            raise ValueError(f"unknown quantisation {kind!r}")
        read = _diffq(settings, is_packed) if kind == DIFFQ else _uniform(settings, is_packed)
        large, small = _split(model, settings)
        whole = {"quantized": large, "float16" if settings.get("float16") else "others": small}
        for key in ("quantized", "float16", "others"):
            if len(state[key]) != len(whole.get(key, ())):
                raise ValueError(f"{len(state[key])} parameters as {key!r} instead of {len(whole.get(key, ()))}")
        values = [_like(parameter, value) for parameter, value in zip(small, [*state["float16"], *state["others"]])]
        values += [read(parameter, value) for parameter, value in zip(large, state["quantized"])]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RuntimeError) as error:
        raise PackageError(f"{where}: its quantised weights are malformed, or belong to another model: "
                           f"{quoted(error) or type(error).__name__}") from error
    with torch.no_grad():
        for parameter, value in zip([*small, *large], values):
            parameter.copy_(value)


def _split(model: nn.Module, settings: tp.Mapping[str, tp.Any]) -> tp.Tuple[tp.List[nn.Parameter], ...]:
    """(quantised, not quantised) parameters: quantised are those above `min_size` MiB that no pattern excludes."""
    limit = settings.get("min_size", 0.01) * 2 ** 20 // 4
    patterns = [str(pattern) for pattern in settings.get("exclude", ())]
    large, small = [], []
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            excluded = any(fnmatch.fnmatch(candidate, pattern) for pattern in patterns
                           for candidate in (f"{path}.{name}", name))
            (small if excluded or parameter.numel() <= limit else large).append(parameter)
    return large, small


Reader = tp.Callable[[nn.Parameter, tp.Any], torch.Tensor]


def _diffq(settings: tp.Mapping[str, tp.Any], is_packed: bool) -> Reader:
    lowest = settings.get("min_bits", 2)
    group = settings.get("group_size", 1)
    if not isinstance(group, int) or group < 0:
        raise ValueError(f"groups of {group!r}")

    def read(parameter: nn.Parameter, value: tp.Any) -> torch.Tensor:
        size = group or parameter.numel()
        if parameter.numel() % size:
            raise ValueError(f"groups of {size} in {parameter.numel()} weights")
        count = parameter.numel() // size
        levels, extremes, bits = value
        if is_packed:
            bits = torch.from_numpy(_unpack(bits, count)) + lowest
            if len(levels) != MOST_BITS or int(bits.min()) < 1 or int(bits.max()) > MOST_BITS:
                raise ValueError(f"{len(levels)} depths, of {int(bits.min())} to {int(bits.max())} bits")
            planes = levels
            levels = torch.empty(count, size, dtype=torch.short)
            for depth in range(1, MOST_BITS + 1):
                chosen = bits == depth
                number = int(chosen.sum()) * size
                if number:
                    levels[chosen] = torch.from_numpy(_unpack(planes[depth - 1], number, depth)).view(-1, size)
        else:       # DiffQ < 0.2 stores one more dimension for the bits, and one less for the levels of a single group
            levels, bits = _filling(levels, (count, size)), _filling(bits, (count,))
        return _scaled(levels, extremes, bits[:, None].byte()).view_as(parameter)
    return read


def _uniform(settings: tp.Mapping[str, tp.Any], is_packed: bool) -> Reader:
    bits = float(settings.get("bits", 8.))
    if not 1 <= bits <= 15:
        raise ValueError(f"{bits} bits")

    def read(parameter: nn.Parameter, value: tp.Any) -> torch.Tensor:
        levels, extremes = value
        if is_packed:
            levels = torch.from_numpy(_unpack(levels, parameter.numel(), int(bits))).view_as(parameter)
        return _scaled(_shaped(levels, parameter.shape), extremes, torch.tensor(bits))
    return read


def _unpack(words: tp.Any, count: int, depth: tp.Optional[int] = None) -> np.ndarray:
    """`count` int16 levels of `depth` bits from an int64 tensor [blocks, depth, 32]."""
    blocks = math.ceil(count / (LANES * WORD))
    if not is_weight(words) or words.dtype != torch.int64 or words.dim() != 3:
        raise ValueError("packed levels that are not blocks of words")
    planes = words.shape[1] if depth is None else depth
    if tuple(words.shape) != (blocks, planes, LANES) or planes > 15:
        raise ValueError(f"packed levels of shape {tuple(words.shape)} instead of {(blocks, planes, LANES)}")
    levels = np.zeros((blocks, LANES, WORD), dtype=np.int16)
    for plane in range(planes):
        stream = words[:, plane].contiguous().numpy().astype("<i8").view(np.uint8)
        digits = np.unpackbits(stream, bitorder="little").reshape(blocks, LANES, WORD)
        levels |= digits.astype(np.int16) << plane
    return levels.transpose(0, 2, 1).reshape(-1)[:count]


def _scaled(levels: torch.Tensor, extremes: tp.Any, bits: torch.Tensor) -> torch.Tensor:
    """Weights from levels 0 .. 2^bits - 1 between minimum and maximum, by the same operations in the same order as in
    DiffQ."""
    low, high = map(float, extremes)
    if not math.isfinite(low) or not math.isfinite(high):
        raise ValueError(f"weights between {low} and {high}")
    return levels.float() * (1 / (2 ** bits.float() - 1)) * (high - low) + low


def _shaped(value: tp.Any, shape: tp.Sequence[int]) -> torch.Tensor:
    if not is_weight(value) or tuple(value.shape) != tuple(shape):
        raise ValueError(f"{tuple(getattr(value, 'shape', ()))} values instead of {tuple(shape)}")
    return value


def _filling(value: tp.Any, shape: tp.Sequence[int]) -> torch.Tensor:
    if not is_weight(value) or value.numel() != math.prod(shape):
        raise ValueError(f"{tuple(getattr(value, 'shape', ()))} values instead of {tuple(shape)}")
    return value.reshape(shape)


def _like(parameter: nn.Parameter, value: tp.Any) -> torch.Tensor:
    return _shaped(value, parameter.shape).float()
