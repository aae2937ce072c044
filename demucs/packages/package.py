"""Exported models: one `.th` file of plain types and tensors, and its card in a separate JSON file.

The file contains the name of a model of the zoo, its arguments, and its weights in float32, float16, or quantised. It
names no class and is read with `weights_only`, so that files from untrusted sources cannot run code. A checksum covers
the whole content, and the card has a hash of the weights, since torch does not detect a flipped bit. Files of published
Demucs are recognised by their content and read by `published`.
"""

import typing as tp
from pathlib import Path

import torch
from torch import nn

from .. import schema
from ..errors import PackageError, quoted
from ..runs import provenance
from ..schema import ReleaseCard
from . import checksum, pickled, published, quantised, weights
from .building import model_of, requantised
from .encoding import decode, encode

FORMAT = "demucs-release"


def model_hash(model: nn.Module) -> str:
    """Hash of a model: the first 16 hexadecimal digits of the sha256 over names, types and values of its weights and
    buffers."""
    return weights.state_hash(model.state_dict())


def save(model: nn.Module, path: tp.Union[str, Path], *, card: ReleaseCard, half: bool = False,
         quantizer_state: tp.Optional[quantised.State] = None) -> ReleaseCard:
    """Write `model` to `path` and its card to a `.json` file of the same name.

    Args:
        model: from `zoo.build`.
        path: ends in ".th"; an existing file is replaced only when the new one is complete.
        card: `precision`, `parameters` and `model_hash` are set here.
        half: store float16, half the size; a loaded model is float32 again, with rounded weights.
        quantizer_state: state from `quantised.packed`, which is stored instead of the model's own weights.

    Returns:
        The completed card.

    Raises:
        PackageError: if the file cannot be written (no space, no permission); the previous file is kept.
    """
    path = Path(path)
    kwargs = pickled.plain(encode(model.zoo_kwargs), path)
    if quantizer_state is None:
        state: tp.Dict[str, tp.Any] = weights.stored(model, half=half)
        card = weights.completed(card, model, state, "float16" if half else "float32")
    else:
        copy = requantised(model, quantizer_state)
        state = quantizer_state
        card = weights.completed(card, copy, copy.state_dict(), quantised.PRECISION)
    package = {"format": FORMAT, "version": schema.RELEASE_VERSION, "model": model.zoo_name, "kwargs": kwargs,
               "state": state, "card": schema.to_plain(card)}
    package = checksum.sealed(package, path)
    weights.write(path, card, lambda file: torch.save(package, file))
    return card


def new_card(model: nn.Module, *, signature: str, epochs_done: int, epochs: int, valid: schema.Metrics,
             argv: tp.Sequence[str]) -> ReleaseCard:
    """Card of a model of the zoo, with the current time, commit and package versions. `epochs_done` of `epochs` are
    trained, `valid` are the validation metrics of the weights, `argv` the overrides of the experiment `signature`. The
    fields about the weights are set by `save`."""
    return ReleaseCard(
        signature=signature, model=model.zoo_name, sources=list(model.sources), samplerate=model.samplerate,
        audio_channels=model.audio_channels, segment=float(model.segment), precision="float32", parameters=0,
        model_hash="", epochs_done=epochs_done, epochs=epochs, valid=dict(valid), argv=list(argv),
        commit=provenance.commit(), versions=provenance.versions(), created=provenance.now())


def load(path: tp.Union[str, Path]) -> nn.Module:
    """The model in the file `path`, in evaluation mode on the CPU, in float32, with its `ReleaseCard` as attribute
    `card`.

    Our own format and those of published Demucs are supported; see `published`. A quantised model keeps its stored form
    as attribute `quantised_state`.

    Raises:
        PackageError: if the file is missing, truncated, damaged or of no known format, or its weights do not fit its
            model.
    """
    path = Path(path)
    if not path.is_file():
        raise PackageError(f"{path}: no such file; export it with `python -m tools.export {path.stem}`")
    if path.suffix == published.SAFETENSORS:
        return published.load(path)
    content = pickled.read(path)
    if published.is_published(content):
        return published.from_content(content, path)
    package = _checked(content, path)
    card = weights.read_card(pickled.plain(package.get("card"), path), path)
    model = model_of(package["model"], decode(pickled.plain(package["kwargs"], path), path), package["state"], path)
    weights.confirm(card, model, path)
    checksum.require_unchanged(package, path)
    model.card = card
    return model


def _checked(package: tp.Any, path: Path) -> tp.Dict[str, tp.Any]:
    """`package`, checked to have the entries of our format. Raises PackageError."""
    if not isinstance(package, dict) or package.get("format") != FORMAT:
        raise PackageError(f"{path}: not a release file of this project (a checkpoint of a run?); make one with "
                           f"`python -m tools.export`")
    version = package.get("version")
    if type(version) is not int or version != schema.RELEASE_VERSION:      # may be any object, even a tensor
        raise PackageError(f"{path}: has version {quoted(repr(version))}, this code reads version "
                           f"{schema.RELEASE_VERSION}; export it again with this code")
    if not isinstance(package.get("model"), str):
        raise PackageError(f"{path}: does not say which model it is; export it again")
    if not isinstance(package.get("kwargs"), dict) or not isinstance(package.get("state"), dict):
        raise PackageError(f"{path}: its arguments or its weights are not a dictionary; export it again")
    return package
