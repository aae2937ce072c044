"""Reader of model files of published Demucs (3.x and 4.x), which returns models of our zoo.

There are four kinds: packages (`.th`: a class by reference, its arguments, and its weights in float32, float16 or
quantised), `best.th` of a run (such a package), `checkpoint.th` of a run (configuration and weights), and safetensors
files with the arguments as JSON in their metadata. All are read as untrusted; see `pickled`. `publish.save` is the
inverse.
"""

import contextlib
import datetime
import inspect
import json
import logging
import typing as tp
from pathlib import Path

import torch
from torch import nn

from ..errors import PackageError, quoted
from ..models import zoo
from ..schema import ReleaseCard
from . import checksum, pickled, quantised, weights
from .building import model_of
from .encoding import decode
from .pickled import Reference, plain
from .publish import OWN, safetensors_checksum, save

__all__ = ["from_content", "is_published", "load", "save"]
logger = logging.getLogger(__name__)

SAFETENSORS = ".safetensors"
PACKAGE_KEYS = {"klass", "args", "kwargs", "state"}
CHECKPOINT_KEYS = {"state", "optimizer", "history", "best_state", "args"}
METADATA = {"klass", "args", "kwargs", "card", "structure", checksum.KEY}      # keys in safetensors files that we write
NEEDED = ("sources", "audio_channels", "samplerate", "segment")    # for the zoo; published classes default three


def is_published(content: tp.Any) -> bool:
    """Whether `content`, that of a .th file, is a package or a checkpoint of published Demucs."""
    if not isinstance(content, dict):
        return False
    return PACKAGE_KEYS <= content.keys() or is_checkpoint(content)


def is_checkpoint(content: tp.Mapping[str, tp.Any]) -> bool:
    """Whether `content` is a checkpoint of published Demucs. Our own checkpoints also have states of random
    generators."""
    return CHECKPOINT_KEYS <= content.keys() and "random_states" not in content


def load(path: tp.Union[str, Path]) -> nn.Module:
    """The model in a file of published Demucs, in evaluation mode on the CPU, in float32. A checkpoint gives its best
    weights, or its last ones if it has no best.

    Its attribute `card` is a `ReleaseCard` filled from the file; unknown numbers of epochs are 0. A quantised model
    keeps its stored form as attribute `quantised_state`, so that it can be exported again without loss.

    Raises:
        PackageError: if the file is damaged, of another kind, or names objects that Demucs does not need.
    """
    path = Path(path)
    return from_content(read_safetensors(path) if path.suffix == SAFETENSORS else pickled.read(path), path)


def from_content(content: tp.Mapping[str, tp.Any], path: Path) -> nn.Module:
    """The model in `content`, which `pickled.read` or `read_safetensors` has read from `path`; see `load`."""
    if not is_published(content):
        raise PackageError(f"{path}: not a file of published Demucs: it lacks {', '.join(sorted(PACKAGE_KEYS))}")
    if PACKAGE_KEYS <= content.keys():
        name, kwargs = _arguments(content, path)
        state = content["state"]
    else:
        name, kwargs = _configured(content, path)
        state = content["best_state"] if content["best_state"] is not None else content["state"]
    if quantised.is_quantised(state):
        state = _named(state, path)
    model = model_of(name, kwargs, state, path)
    model.card = _card(model, content, state, path)
    return model


def own_model(klass: str) -> str:
    """Name in the zoo of the model whose class a safetensors file of ours calls `klass`, if published Demucs has no
    such model; otherwise ""."""
    name = klass.removeprefix(OWN)
    return name if klass.startswith(OWN) and name in zoo.MODELS and not zoo.MODELS[name].published else ""


def _arguments(content: tp.Mapping[str, tp.Any], path: Path) -> tp.Tuple[str, tp.Dict[str, tp.Any]]:
    """Name in the zoo and arguments of a model, from its class and the arguments of the constructor."""
    klass = content["klass"]
    own = isinstance(klass, Reference) and own_model(klass.name)
    if not isinstance(klass, Reference) or not own and klass.name not in pickled.MODELS:
        raise PackageError(f"{path}: refused: its model is {quoted(getattr(klass, 'name', type(klass)))}; models that "
                           f"can be read: {', '.join(pickled.MODELS)}")
    name = own or pickled.MODELS[klass.name]
    args, kwargs = plain(content["args"], path), plain(content["kwargs"], path)
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise PackageError(f"{path}: the arguments of its model are no list and dictionary")
    known = zoo.MODELS[name].settings
    given = dict(zip(known, args))
    if len(args) > len(known) or given.keys() & kwargs.keys():
        raise PackageError(f"{path}: {klass.name} does not take {len(args)} arguments in order and "
                           f"{quoted(', '.join(map(str, kwargs)))} by name")
    for key, value in kwargs.items():
        if key in known:
            given[key] = value
        else:
            logger.warning("%s: %s has no parameter %r; it is left out", path, klass.name, key)
    for key in NEEDED:
        if key not in given and known[key].default is inspect.Parameter.empty:
            raise PackageError(f"{path}: {klass.name} needs {key!r}, which is not in the file")
        given.setdefault(key, known[key].default)
    return name, given


def _configured(content: tp.Mapping[str, tp.Any], path: Path) -> tp.Tuple[str, tp.Dict[str, tp.Any]]:
    """Name in the zoo and arguments of a model, from the configuration of a run as in the training of published
    Demucs."""
    settings = plain(content["args"], path)
    try:
        name, dset = settings["model"], settings["dset"]
        kwargs = {"sources": dset["sources"], "audio_channels": dset["channels"], "samplerate": dset["samplerate"],
                  "segment": settings.get("model_segment") or 4 * dset["segment"], **settings[name]}
    except (AttributeError, KeyError, TypeError) as error:
        raise PackageError(f"{path}: its configuration does not describe a model: {quoted(repr(error))}") from error
    return name, kwargs


def _named(state: tp.Mapping[str, tp.Any], path: Path) -> tp.Dict[str, tp.Any]:
    """Quantised state with the class of its quantiser as a name, as required by `quantised.restore`."""
    meta = state.get("meta")
    klass = meta.get("klass") if isinstance(meta, dict) else None
    if not isinstance(klass, Reference) or klass.name not in quantised.CLASSES:
        raise PackageError(f"{path}: refused: its weights are quantised by {quoted(getattr(klass, 'name', klass))!r}, "
                           f"which is not among {', '.join(quantised.CLASSES)}")
    rest = plain({key: value for key, value in meta.items() if key != "klass"}, path)
    return {**state, "meta": {**rest, "klass": klass.name}}


def _card(model: nn.Module, content: tp.Mapping[str, tp.Any], state: tp.Mapping[str, tp.Any],
          path: Path) -> ReleaseCard:
    if "card" in content:      # a package that `publish` wrote
        card = weights.read_card(plain(content["card"], path), path)
        weights.confirm(card, model, path)
        return card
    half = not quantised.is_quantised(state) and any(tensor.dtype == torch.float16 for tensor in state.values())
    precision = quantised.PRECISION if quantised.is_quantised(state) else "float16" if half else "float32"
    history, metrics = content.get("history"), content.get("metrics")
    settings = plain(content["args"] if is_checkpoint(content) else content.get("training_args"), path)
    epochs = settings.get("epochs") if isinstance(settings, dict) else None
    valid = metrics[0] if isinstance(metrics, (list, tuple)) and metrics else None
    written = datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.timezone.utc)
    return ReleaseCard(
        signature=path.stem.split("-")[0], model=model.zoo_name, sources=list(model.sources),
        samplerate=model.samplerate, audio_channels=model.audio_channels, segment=float(model.segment),
        precision=precision, parameters=sum(parameter.numel() for parameter in model.parameters()),
        model_hash=weights.state_hash(model.state_dict()),
        epochs_done=len(history) if isinstance(history, list) else 0, epochs=epochs if isinstance(epochs, int) else 0,
        valid={key: value for key, value in valid.items() if type(value) in (int, float)} if isinstance(valid, dict)
        else {}, argv=[], commit="", versions={}, created=written.isoformat(timespec="seconds"))


@contextlib.contextmanager
def _in_text(path: Path) -> tp.Iterator[str]:
    """Context with a valid Unicode name for the file `path`, since the safetensors package cannot open any other."""
    if str(path).isprintable() or str(path).encode("utf-8", "replace").decode("utf-8") == str(path):
        yield str(path)
        return
    with open(path, "rb") as file:
        yield f"/dev/fd/{file.fileno()}"


def read_safetensors(path: Path) -> tp.Dict[str, tp.Any]:
    """Content of a safetensors file as a dictionary like that of a package: "klass", "args", "kwargs", "state", and
    "card" if it has one.

    Raises:
        PackageError: if it is missing, damaged or does not describe a model, or the safetensors package is not
            installed.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise PackageError(f"{path}: reading it needs the safetensors package: pip install safetensors") from error
    try:
        with _in_text(path) as name, safe_open(name, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}
        _require_unchanged(metadata, tensors, path)
        values = {key: json.loads(metadata[key]) for key in ("args", "kwargs")}
        content = {"klass": Reference(metadata["klass"]), "state": tensors,
                   **{key: decode(value, path) for key, value in values.items()}}
        if "structure" in metadata:
            content["state"] = _unflattened(json.loads(metadata["structure"]), tensors)
        if "card" in metadata:
            content["card"] = json.loads(metadata["card"])
    except FileNotFoundError as error:
        raise PackageError(f"{path}: no such file") from error
    except (SafetensorError, OSError) as error:
        raise PackageError(f"{path}: not a safetensors file, or cut short ({quoted(error)}); copy it again") from error
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise PackageError(f"{path}: its metadata does not describe a model of Demucs: {quoted(repr(error))}"
                           ) from error
    return content


def _require_unchanged(metadata: tp.Mapping[str, str], tensors: weights.State, path: Path) -> None:
    """Raise PackageError if a safetensors file that we wrote was changed since."""
    if not {"card", checksum.KEY} & metadata.keys():
        return
    unknown = metadata.keys() - METADATA
    if unknown:        # it may be the damaged key of the checksum itself
        raise PackageError(f"{path}: damaged, or was changed: its metadata has an entry {min(unknown)!a:.60}; copy or "
                           f"export it again")
    if checksum.KEY in metadata:
        found = safetensors_checksum(metadata, tensors, path, size=path.stat().st_size)
        if found != metadata[checksum.KEY]:
            raise PackageError(f"{path}: damaged, or was changed: its checksum is {found}, it was written with "
                               f"{metadata[checksum.KEY][:32]!r}; copy or export it again")


def _unflattened(node: tp.Any, tensors: tp.Mapping[str, torch.Tensor]) -> tp.Any:
    """Nested state from its JSON description, the inverse of `publish._structure`. Classes become `Reference`s."""
    if not isinstance(node, dict):
        return node
    if "_tensor" in node:
        return tensors[node["_tensor"]]
    if "_dict" in node:
        return {key: _unflattened(item, tensors) for key, item in node["_dict"]}
    if "_list" in node:
        return [_unflattened(item, tensors) for item in node["_list"]]
    if "_tuple" in node:
        return tuple(_unflattened(item, tensors) for item in node["_tuple"])
    if "_class" in node:
        return Reference(node["_class"])
    raise ValueError(f"unknown part of a structure: {sorted(node)}")
