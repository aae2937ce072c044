"""Writer of model files for published Demucs (4.x): packages that its command line loads, and safetensors files.

The pickle of a package names the published class, for instance `demucs.hdemucs.HDemucs`, independent of the module of
our class. Otherwise it contains only numbers, strings, fractions and tensors. Our release card is an additional entry,
which published code ignores.
"""

import json
import pickle
import types
import typing as tp
from pathlib import Path

import torch
from torch import nn

from .. import schema
from ..errors import PackageError
from ..models import zoo
from ..schema import ReleaseCard
from . import checksum, quantised, weights
from .building import requantised
from .encoding import encode
from .pickled import Reference

KINDS = {"demucs": ".th", "safetensors": ".safetensors"}
OWN = "demucs.models.zoo."     # prefix of the class in a safetensors file, for models that published Demucs lacks


def save(model: nn.Module, path: tp.Union[str, Path], *, card: ReleaseCard, kind: str = "demucs", half: bool = True,
         quantizer_state: tp.Optional[quantised.State] = None) -> ReleaseCard:
    """Write `model` to `path` for published Demucs, and its card to a `.json` file of the same name.

    A `torch_hdemucs` is written as the equivalent `HDemucs`: Demucs 4.1.0 drops all arguments of its own packages of
    that class as unknown, and cannot load them.

    Args:
        model: of the zoo.
        path: an existing file is replaced only when the new one is complete. Published Demucs finds `SIGNATURE.th`.
        card: `precision`, `parameters` and `model_hash` are set here.
        kind: "demucs" for a package, or "safetensors".
        half: store float16, as published models are.
        quantizer_state: state from `quantised.packed`, which is stored instead of the model's own weights.

    Returns:
        The completed card.

    Raises:
        PackageError: if the file cannot be written; the previous file is kept.
    """
    path = Path(path)
    if quantizer_state is None:
        written = _written(model, kind)
        state: tp.Dict[str, tp.Any] = weights.stored(written, half=half)
        card = weights.completed(card, written, state, "float16" if half else "float32")
    else:
        if _written(model, kind) is not model:     # packed weights are in the parameter order of the model's own class
            raise PackageError(f"{path}: Demucs 4 has no form for a quantised {model.zoo_name}; export it in half "
                               f"precision, or in plain format")
        written = requantised(model, quantizer_state)
        card = weights.completed(card, written, written.state_dict(), quantised.PRECISION)
        meta = quantizer_state["meta"]
        state = {**quantizer_state, "meta": {**meta, "klass": Reference(meta["klass"])}}
    content = {"klass": Reference(_class_of(written)), "args": (),
               "kwargs": dict(written.zoo_kwargs), "state": state, "card": schema.to_plain(card)}
    if kind == "safetensors":
        data = _safetensors(content)
        weights.write(path, card, lambda file: file.write(data))
    else:           # no checksum entry: torch archives have their own, and published code expects exactly these entries
        weights.write(path, card, lambda file: torch.save(content, file, pickle_module=_REFERENCES))
    return card


def _written(model: nn.Module, kind: str) -> nn.Module:
    """The model that is written for `model`: see `as_published`. Safetensors files name no class of Python, so they can
    have any model of the zoo, which only this project reads."""
    entry = zoo.MODELS[model.zoo_name]
    own = kind == "safetensors" and not entry.published and entry.written_as is None
    return model if own else as_published(model)


def _class_of(model: nn.Module) -> str:
    published = zoo.MODELS[model.zoo_name].published
    return published[0] if published else OWN + model.zoo_name


def as_published(model: nn.Module) -> nn.Module:
    """`model` itself, or an equivalent new model of another class if Demucs 4.1.0 cannot load the class of `model`.

    Raises:
        PackageError: if published Demucs has no such class.
    """
    entry = zoo.MODELS[model.zoo_name]
    if entry.written_as is None:
        if not entry.published:
            raise PackageError(f"published Demucs has no class for a model {model.zoo_name}; export it in plain format")
        return model
    with torch.random.fork_rng(devices=[]):   # drawing initial weights must not advance the caller's random generator
        equivalent = zoo.build(entry.written_as, **model.zoo_kwargs)
    wanted, state = equivalent.state_dict(), {}
    for key, value in model.state_dict().items():
        name = model.published_name(key)
        if name in wanted:
            state[name] = value
    equivalent.load_state_dict(state)
    return equivalent


class _ReferencePickler(pickle._Pickler):
    """Pickler that writes a `Reference` as the class it names, which need not exist here. Only the pickler in Python,
    not the one in C, can write a name without importing it first."""

    def _save_reference(self, reference: Reference) -> None:
        module, name = reference.name.rsplit(".", 1)
        self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
        self.memoize(reference)

    dispatch = {**pickle._Pickler.dispatch, Reference: _save_reference}


_REFERENCES = types.SimpleNamespace(__name__="pickle", Pickler=_ReferencePickler)     # torch expects a module


def _safetensors(content: tp.Mapping[str, tp.Any]) -> bytes:
    try:
        from safetensors.torch import save as to_bytes
    except ImportError as error:
        raise PackageError("writing safetensors needs the safetensors package: pip install safetensors") from error
    metadata = {"klass": content["klass"].name, "args": json.dumps(list(content["args"])),
                "kwargs": json.dumps(encode(content["kwargs"])), "card": json.dumps(content["card"])}
    tensors = content["state"]
    if quantised.is_quantised(tensors):
        tensors = {}
        metadata["structure"] = json.dumps(_structure(content["state"], tensors, "state"))
    metadata[checksum.KEY] = safetensors_checksum(metadata, tensors, "safetensors")
    return to_bytes(tensors, metadata=metadata)


def safetensors_checksum(metadata: tp.Mapping[str, str], tensors: weights.State, path: tp.Union[str, Path], *,
                         size: tp.Optional[int] = None) -> str:
    """Checksum of `metadata` (without its entry KEY) and `tensors` of a safetensors file, each sorted by key since the
    format has no order. `path` and `size` are those of `checksum.checksum`."""
    content = {"metadata": {key: metadata[key] for key in sorted(metadata) if key != checksum.KEY},
               "tensors": {key: tensors[key] for key in sorted(tensors)}}
    return checksum.checksum(content, path, size=size)


def _structure(value: tp.Any, tensors: weights.State, name: str) -> tp.Any:
    """JSON description of a nested state; its tensors are added to `tensors`, under names that begin with `name`."""
    if isinstance(value, torch.Tensor):
        tensors[name] = value.contiguous()
        return {"_tensor": name}
    if isinstance(value, dict):
        return {"_dict": [[key, _structure(item, tensors, f"{name}.{key}")] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        parts = [_structure(item, tensors, f"{name}.{index}") for index, item in enumerate(value)]
        return {"_tuple" if isinstance(value, tuple) else "_list": parts}
    return {"_class": value.name} if isinstance(value, Reference) else value
