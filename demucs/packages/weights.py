"""Reading and writing of weights, and their consistency with a release card."""

import dataclasses
import hashlib
import logging
import typing as tp
from pathlib import Path

import torch
from torch import nn

from .. import schema
from ..errors import PackageError, quoted
from ..files import atomic
from ..schema import ReleaseCard

logger = logging.getLogger(__name__)

State = tp.Dict[str, torch.Tensor]
NAMED = 3       # maximum number of weights named in a message, per kind of difference


def state_hash(state: tp.Mapping[str, torch.Tensor]) -> str:
    """Hash of the weights and buffers in a state dict: the first 16 hexadecimal digits of the sha256 over their names,
    types and values, sorted by name. Floating-point values are converted to float32 first."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu()
        if tensor.is_floating_point():     # as loaded: weights stored in float16 are loaded as float32
            tensor = tensor.float()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()[:16]


def checked_state(state: tp.Any, path: Path) -> State:
    """`state` itself, checked to be a dictionary of tensors whose values are all in the file `path`.

    Raises:
        PackageError: with `path`, if it is not. A tensor may claim any shape over a few stored values.
    """
    if not isinstance(state, dict) or not all(isinstance(name, str) and is_weight(value)
                                              for name, value in state.items()):
        raise PackageError(f"{path}: the weights are not a dictionary of tensors; export it again")
    if sum(tensor.numel() * tensor.element_size() for tensor in state.values()) > path.stat().st_size:
        raise PackageError(f"{path}: its weights claim more values than the file holds; it was made to mislead")
    return state


def is_weight(value: tp.Any) -> bool:
    """Whether `value` is a dense tensor on the CPU that is not quantised."""
    return (isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_quantized
            and value.device.type == "cpu")


def differences(expected: tp.Mapping[str, torch.Tensor], state: tp.Mapping[str, torch.Tensor]) -> str:
    """Short description of the differences between the weights `state` and the weights `expected` of a model: those of
    another shape (with both shapes), missing, or unknown. "" if there are none."""
    shapes = [f"{name} is {_shape(state[name])} instead of {_shape(expected[name])}"
              for name in expected if name in state and _shape(state[name]) != _shape(expected[name])]
    missing = [name for name in expected if name not in state]
    unknown = [str(name) for name in state if name not in expected]
    return "; ".join(f"{len(names)} {what} ({', '.join(quoted(name, 120) for name in names[:NAMED])}"
                     f"{', ...' if len(names) > NAMED else ''})"
                     for what, names in (("of another shape", shapes), ("missing", missing), ("unknown", unknown))
                     if names)


def _shape(value: tp.Any) -> tp.Any:
    return tuple(value.shape) if isinstance(value, torch.Tensor) else f"a {type(value).__name__}"


def stored(model: nn.Module, *, half: bool) -> State:
    """Weights and buffers of `model` for a file: contiguous, on the CPU, and with `half` in float16 (except for
    integers)."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    return {name: tensor.half() if half and tensor.is_floating_point() else tensor for name, tensor in state.items()}


def read_card(plain: tp.Any, path: Path) -> ReleaseCard:
    """Release card from its plain form `plain`, which comes from the file `path`. Raises PackageError if it is
    invalid."""
    try:
        return schema.from_plain(ReleaseCard, plain, where=str(path))
    except schema.SchemaError as error:
        raise PackageError(str(error)) from error


def completed(card: ReleaseCard, model: nn.Module, state: tp.Mapping[str, torch.Tensor], precision: str) -> ReleaseCard:
    """Copy of `card` with the fields about the model and its weights `state`: name, number of parameters, hash and
    `precision`."""
    return dataclasses.replace(card, model=model.zoo_name, precision=precision, model_hash=state_hash(state),
                               parameters=sum(parameter.numel() for parameter in model.parameters()))


def confirm(card: ReleaseCard, model: nn.Module, path: Path) -> None:
    """Check that `model` agrees with `card`, both read from the file `path`: weights, name, sources, sample rate and
    channels. The separate card file is checked, too: damage is an error, a difference is logged as a warning.

    In packages of older versions, which have no checksum over their content, this comparison detects damage.

    Raises:
        PackageError: if the model differs from the card, or the separate card file is damaged.
    """
    found = state_hash(model.state_dict())
    if found != card.model_hash:
        raise PackageError(f"{path}: the weights are damaged (their hash is {found}, the card says "
                           f"{quoted(card.model_hash, 40)}); copy or export the file again")
    about = {"model": model.zoo_name, "sources": list(model.sources), "samplerate": model.samplerate,
             "audio_channels": model.audio_channels}
    for key, value in about.items():
        if getattr(card, key) != value:
            raise PackageError(f"{path}: damaged: its model has {key} {quoted(value)}, its card says "
                               f"{quoted(getattr(card, key))}; copy or export it again")
    _confirm_beside(card, path)


def _confirm_beside(card: ReleaseCard, path: Path) -> None:
    """Raise PackageError if the separate card file of a package is damaged. It may belong to another export of the same
    name."""
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return
    try:
        other = schema.load(ReleaseCard, beside)
    except (OSError, schema.SchemaError) as error:
        raise PackageError(f"the card beside {path.name} cannot be used: {error}. Export the model again, or delete "
                           f"the card: {path.name} holds it, too") from error
    if (other.model_hash, other.precision) == (card.model_hash, card.precision) and other != card:
        differing = next(field.name for field in dataclasses.fields(card)
                         if getattr(other, field.name) != getattr(card, field.name))
        logger.warning("%s: says another %s than the card inside of %s, which is what counts; export the model again",
                       beside, differing, path.name)


def write(path: Path, card: ReleaseCard, put: tp.Callable[[tp.BinaryIO], tp.Any]) -> None:
    """Write the file `path` atomically, with the content that `put(file)` writes, and then `card` to a `.json` file of
    the same name. Existing files are replaced.

    Raises:
        PackageError: if one cannot be written.
    """
    try:
        with atomic(path) as file:
            put(file)
        schema.write_json(schema.sealed(schema.to_plain(card)), path.with_suffix(".json"))
    except (OSError, RuntimeError) as error:   # torch turns a failed write into a RuntimeError
        raise PackageError(f"{path}: cannot be written ({error}). What was there before is unharmed; free some space "
                           f"or choose another folder") from error
