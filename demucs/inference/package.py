"""Exported models: one `.th` file of plain types and tensors, and its card as JSON beside it.

The file says which model of the zoo it is, with which arguments, and holds its weights. It names no class and is read
with `weights_only`, so reading one from an unknown place cannot run code; weights are checked against the hash in the
card, since neither the container nor torch notices a flipped bit.
"""

import dataclasses
import hashlib
import pickle
import typing as tp
from pathlib import Path

import torch
from torch import nn

from .. import schema
from ..errors import PackageError
from ..files import atomic
from ..models import zoo
from ..schema import ReleaseCard
from . import provenance

FORMAT = "demucs-release"
PLAIN = (str, int, float, bool, type(None))
State = tp.Dict[str, torch.Tensor]


def model_hash(model: nn.Module) -> str:
    """First 16 hexadecimal digits of sha256 over names, types and values of all weights and buffers."""
    return _state_hash(model.state_dict())


def _state_hash(state: tp.Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu()
        if tensor.is_floating_point():     # a package in half precision is the model that one gets from it
            tensor = tensor.float()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()[:16]


def save(model: nn.Module, path: tp.Union[str, Path], *, card: ReleaseCard, half: bool = False) -> ReleaseCard:
    """Write `model` to `path` and its card beside it as `.json`, completed by what the weights say.

    Args:
        model: from `zoo.build`.
        path: ends in ".th"; an existing file is replaced only when the new one is complete.
        card: `precision`, `parameters` and `model_hash` are set here.
        half: store float16, half the size; the model that is read is float32 again, with rounded weights.

    Returns:
        The completed card.

    Raises:
        PackageError: where the file cannot be written (no space, no permission); the previous one stays.
    """
    path = Path(path)
    if not _is_plain(model.zoo_kwargs):
        raise PackageError(f"{path}: the arguments of the model are not plain numbers and strings: {model.zoo_kwargs}")
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    if half:
        state = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    card = dataclasses.replace(card, precision="float16" if half else "float32", model_hash=_state_hash(state),
                               parameters=sum(parameter.numel() for parameter in model.parameters()))
    package = {"format": FORMAT, "version": schema.RELEASE_VERSION, "model": model.zoo_name,
               "kwargs": dict(model.zoo_kwargs), "state": state, "card": schema.to_plain(card)}
    try:
        with atomic(path) as file:
            torch.save(package, file)
        schema.save(card, path.with_suffix(".json"))
    except (OSError, RuntimeError) as error:   # torch turns a failed write into a RuntimeError
        raise PackageError(f"{path}: cannot be written ({error}). What was there before is unharmed; free some space "
                           f"or choose another folder") from error
    return card


def new_card(model: nn.Module, *, signature: str, epochs_done: int, epochs: int, valid: schema.Metrics,
             argv: tp.Sequence[str]) -> ReleaseCard:
    """The card of a model of the zoo, as of now; what concerns the weights is filled in by `save`."""
    return ReleaseCard(
        signature=signature, model=model.zoo_name, sources=list(model.sources), samplerate=model.samplerate,
        audio_channels=model.audio_channels, segment=float(model.segment), precision="float32", parameters=0,
        model_hash="", epochs_done=epochs_done, epochs=epochs, valid=dict(valid), argv=list(argv),
        commit=provenance.commit(), versions=provenance.versions(), created=provenance.now())


def load(path: tp.Union[str, Path]) -> nn.Module:
    """The model in `path`, in evaluation mode on the CPU, with its `ReleaseCard` as attribute `card`.

    Raises:
        PackageError: where the file is missing, cut short, damaged, not of our format, or does not fit its own model.
    """
    path = Path(path)
    package = _read(path)
    card, state = _card(package, path), package["state"]
    if _state_hash(state) != card.model_hash:
        raise PackageError(f"{path}: the weights are damaged (their hash is {_state_hash(state)}, the card says "
                           f"{card.model_hash}); copy or export the file again")
    try:
        with torch.random.fork_rng(devices=[]):   # fresh weights are drawn, which must not move the caller's generator
            model = zoo.build(package["model"], **package["kwargs"])
    except Exception as error:   # nor is what a constructor raises for arguments that somebody made up
        raise PackageError(f"{path}: its model cannot be built: {error}") from error
    _check_fit(model.state_dict(), state, path)
    model.load_state_dict(state)
    model.card = card
    return model.eval()


def _read(path: Path) -> tp.Dict[str, tp.Any]:
    if not path.is_file():
        raise PackageError(f"{path}: no such file; export it with `python3 -m tools.export {path.stem}`")
    try:
        package = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise PackageError(f"{path}: refused. It is not a plain release file of this project: it is damaged, or it "
                           f"names classes to be constructed, which could run code; export the model here with "
                           f"`python3 -m tools.export`") from error
    except Exception as error:   # what a damaged archive raises is no closed list
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise PackageError(f"{path}: not a model file, or cut short ({reason}); copy or export it again") from error
    return _checked(package, path)


def _checked(package: tp.Any, path: Path) -> tp.Dict[str, tp.Any]:
    """The package, if it has the parts and types of our format."""
    if not isinstance(package, dict) or package.get("format") != FORMAT:
        raise PackageError(f"{path}: not a release file of this project (a checkpoint of a run?); make one with "
                           f"`python3 -m tools.export`")
    if package.get("version") != schema.RELEASE_VERSION:
        raise PackageError(f"{path}: has version {package.get('version')!r}, this code reads version "
                           f"{schema.RELEASE_VERSION}; export it again with this code")
    model, kwargs, state = package.get("model"), package.get("kwargs"), package.get("state")
    if not isinstance(model, str):
        raise PackageError(f"{path}: does not say which model it is; export it again")
    if not isinstance(kwargs, dict) or not _is_plain(kwargs):
        raise PackageError(f"{path}: the arguments of the model are not plain numbers and strings; export it again")
    if not isinstance(state, dict) or not all(isinstance(name, str) and _is_weight(value)
                                              for name, value in state.items()):
        raise PackageError(f"{path}: the weights are not a dictionary of tensors; export it again")
    return package


def _is_plain(value: tp.Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    return all(map(_is_plain, value)) if isinstance(value, (list, tuple)) else isinstance(value, PLAIN)


def _is_weight(value: tp.Any) -> bool:
    return (isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_quantized
            and value.device.type == "cpu")


def _card(package: tp.Mapping[str, tp.Any], path: Path) -> ReleaseCard:
    try:
        return schema.from_plain(ReleaseCard, package.get("card", {}), where=str(path))
    except schema.SchemaError as error:
        raise PackageError(str(error)) from error


def _check_fit(expected: tp.Mapping[str, torch.Tensor], state: tp.Mapping[str, torch.Tensor], path: Path) -> None:
    missing = [name for name in expected if name not in state]
    unknown = [name for name in state if name not in expected]
    shapes = [f"{name} is {tuple(state[name].shape)} instead of {tuple(expected[name].shape)}"
              for name in expected if name in state and state[name].shape != expected[name].shape]
    faults = [f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
              for what, names in (("missing", missing), ("unknown", unknown), ("of another shape", shapes)) if names]
    if faults:
        raise PackageError(f"{path}: its weights do not fit the model it names: {'; '.join(faults)}; export it again")
