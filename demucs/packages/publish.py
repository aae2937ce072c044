"""Model files that published Demucs (4.x) reads: packages that its own command line loads, and safetensors files.

The pickle of a package names the published class, `demucs.hdemucs.HDemucs` for instance, wherever ours lives. Nothing
else is in it but numbers, strings, fractions and tensors; our release card lies beside them, where published code
overlooks it.
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


def save(model: nn.Module, path: tp.Union[str, Path], *, card: ReleaseCard, kind: str = "demucs", half: bool = True,
         quantizer_state: tp.Optional[quantised.State] = None) -> ReleaseCard:
    """Write `model` to `path` for published Demucs, and its card beside it as `.json`.

    A `torch_hdemucs` is written as the `HDemucs` that computes the same: Demucs 4.1.0 drops all arguments of its own
    packages of that kind as unknown, and cannot load them.

    Args:
        model: of the zoo.
        path: an existing file is replaced only when the new one is complete. Published Demucs finds `SIGNATURE.th`.
        card: `precision`, `parameters` and `model_hash` are set here.
        kind: "demucs" for a package, "safetensors".
        half: store float16, as published models are.
        quantizer_state: from `quantised.packed`, to be stored instead of the model's own weights.

    Returns:
        The completed card.

    Raises:
        PackageError: where the file cannot be written; the previous one stays.
    """
    path = Path(path)
    if quantizer_state is None:
        twin = as_published(model)
        state: tp.Dict[str, tp.Any] = weights.stored(twin, half=half)
        card = weights.completed(card, twin, state, "float16" if half else "float32")
    else:
        if as_published(model) is not model:     # its packed weights are in the order of its own parameters
            raise PackageError(f"{path}: Demucs 4 has no form for a quantised {model.zoo_name}; export it in half "
                               f"precision, or in plain format")
        twin = requantised(model, quantizer_state)
        card = weights.completed(card, twin, twin.state_dict(), quantised.PRECISION)
        meta = quantizer_state["meta"]
        state = {**quantizer_state, "meta": {**meta, "klass": Reference(meta["klass"])}}
    content = {"klass": Reference(zoo.MODELS[twin.zoo_name].published[0]), "args": (), "kwargs": dict(twin.zoo_kwargs),
               "state": state, "card": schema.to_plain(card)}
    if kind == "safetensors":
        data = _safetensors(content)
        weights.write(path, card, lambda file: file.write(data))
    else:           # an archive of torch has checksums of its own, and published code wants these entries
        weights.write(path, card, lambda file: torch.save(content, file, pickle_module=_REFERENCES))
    return card


def as_published(model: nn.Module) -> nn.Module:
    """`model`, or where Demucs 4.1.0 cannot load its class, one that computes the same in a class that it can.

    Raises:
        PackageError: where there is none.
    """
    entry = zoo.MODELS[model.zoo_name]
    if entry.written_as is None:
        if not entry.published:
            raise PackageError(f"published Demucs has no class for a model {model.zoo_name}; export it in plain format")
        return model
    with torch.random.fork_rng(devices=[]):   # fresh weights are drawn, which must not move the caller's generator
        twin = zoo.build(entry.written_as, **model.zoo_kwargs)
    wanted, state = twin.state_dict(), {}
    for key, value in model.state_dict().items():
        name = model.published_name(key)
        if name in wanted:
            state[name] = value
    twin.load_state_dict(state)
    return twin


class _ReferencePickler(pickle._Pickler):
    """Writes a `Reference` as the class it names, which need not exist here. Only Python's own pickler, not the one in
    C, lets a name be written that is not looked up first."""

    def _save_reference(self, reference: Reference) -> None:
        module, name = reference.name.rsplit(".", 1)
        self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
        self.memoize(reference)

    dispatch = {**pickle._Pickler.dispatch, Reference: _save_reference}


_REFERENCES = types.SimpleNamespace(__name__="pickle", Pickler=_ReferencePickler)     # what torch takes for a module


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
    """Checksum of all that a safetensors file holds; see `checksum.checksum`. The format has no order of its own."""
    content = {"metadata": {key: metadata[key] for key in sorted(metadata) if key != checksum.KEY},
               "tensors": {key: tensors[key] for key in sorted(tensors)}}
    return checksum.checksum(content, path, size=size)


def _structure(value: tp.Any, tensors: weights.State, name: str) -> tp.Any:
    """A nested state as JSON; its tensors go to `tensors`, under names that begin with `name`."""
    if isinstance(value, torch.Tensor):
        tensors[name] = value.contiguous()
        return {"_tensor": name}
    if isinstance(value, dict):
        return {"_dict": [[key, _structure(item, tensors, f"{name}.{key}")] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        parts = [_structure(item, tensors, f"{name}.{index}") for index, item in enumerate(value)]
        return {"_tuple" if isinstance(value, tuple) else "_list": parts}
    return {"_class": value.name} if isinstance(value, Reference) else value
