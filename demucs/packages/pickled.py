"""Reader for pickled files of published Demucs that never imports or calls the objects they name.

A pickle names classes and functions of the program that wrote it, and Python's unpickler imports and calls any of them.
Here torch's restricted unpickler (`weights_only`) gets a table of the names that Demucs 3.x and 4.x write. A model
class becomes a `Reference`, nodes of a configuration become inert `Node`s, numbers become numbers. Any other name is
refused, and nothing is ever imported by a name from a file.
"""

import dataclasses
import pickle
import re
import struct
import threading
import typing as tp
import zipfile
from fractions import Fraction
from pathlib import Path

import torch

from ..errors import PackageError, quoted
from ..models import zoo

DEPTH, SIZE = 32, 100_000    # maximum nesting and number of plain values; configurations have about 5 and 300
DIGITS = 18                  # maximum digits in a fraction; a segment is a number of samples over a sample rate
ZIP = b"PK\x03\x04"           # first bytes of files of torch >= 1.6; older ones are a bare pickle


@dataclasses.dataclass(frozen=True)
class Reference:
    """Placeholder for the class `name` that a file names; it cannot be called, and nothing is imported."""
    name: str


class Node:
    """Placeholder for an omegaconf object with its attributes, from which `plain` extracts the configuration."""

    attributes: tp.Mapping[str, tp.Any] = {}

    def __setstate__(self, state: tp.Any) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError(f"a node of a configuration is a dictionary, found {type(state).__name__}")
        self.attributes = state


class _NumpyType:
    """Placeholder for a numpy dtype of a number: type code and byte order."""

    def __init__(self, code: tp.Any, *_: tp.Any) -> None:
        self.code = code
        self.order = "<"

    def __setstate__(self, state: tp.Any) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] == ">":
            self.order = ">"


def _numpy_number(kind: tp.Any, data: tp.Any) -> tp.Union[int, float, bool]:
    letters = {"f8": "d", "f4": "f", "i8": "q", "i4": "i", "b1": "?"}
    if not isinstance(kind, _NumpyType) or kind.code not in letters or not isinstance(data, bytes):
        raise pickle.UnpicklingError("a number of numpy of an unknown type")
    return struct.unpack(kind.order + letters[kind.code], data)[0]


def _fraction(*parts: tp.Any) -> Fraction:
    """Fraction from its pickled arguments: text in Python 3.10 and older, two integers in newer versions."""
    text = "/".join(str(part) if type(part) is int else part for part in parts if type(part) in (int, str))
    if len(parts) > 2 or not re.fullmatch(rf"-?\d{{1,{DIGITS}}}(/0*[1-9]\d{{0,{DIGITS - 1}}})?", text):
        raise pickle.UnpicklingError("a fraction that is none")
    return Fraction(text)


def _empty(*_: tp.Any) -> tp.Dict[str, tp.Any]:
    return {}


MODELS = {published: name for name, entry in zoo.MODELS.items() for published in entry.published}
QUANTIZERS = ("diffq.diffq.DiffQuantizer", "diffq.uniform.UniformQuantizer")
_PLAIN_TYPES = ("builtins.dict", "builtins.list", "builtins.tuple", "builtins.int", "builtins.float", "builtins.str",
                "builtins.bool", "builtins.object", "typing.Any", "typing.Union")
_OMEGACONF = ("base.Metadata", "base.ContainerMetadata", "dictconfig.DictConfig", "listconfig.ListConfig",
              "nodes.AnyNode", "nodes.StringNode", "nodes.IntegerNode", "nodes.FloatNode", "nodes.BooleanNode",
              "nodes.ValueNode")
_TABLE: tp.Dict[str, tp.Any] = {
    **{name: Reference(name) for name in (*MODELS, *QUANTIZERS, *_PLAIN_TYPES)},
    **{f"omegaconf.{name}": Node for name in _OMEGACONF},
    "fractions.Fraction": _fraction,
    "collections.defaultdict": _empty,       # omegaconf's cache of resolved values
    "numpy.dtype": _NumpyType,
    "numpy.core.multiarray.scalar": _numpy_number, "numpy._core.multiarray.scalar": _numpy_number,
}
_LOCK = threading.Lock()     # torch has one table of safe globals per process


def read(path: tp.Union[str, Path]) -> tp.Any:
    """Content of a file: containers, numbers, strings, tensors on the CPU, `Fraction`s, `Reference`s and `Node`s.

    Raises:
        PackageError: if the file is missing, damaged or truncated, or names an object that is not in the table.
    """
    path = Path(path)
    damaged = damaged_part(path)
    if damaged is not None:
        raise PackageError(f"{path}: {damaged}; copy or export it again")
    try:
        with _LOCK, torch.serialization.safe_globals([(value, name) for name, value in _TABLE.items()]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise PackageError(f"{path}: no such file") from error
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.<>]+)", str(error))
        if found is None:
            reason = re.search(r"WeightsUnpickler error:\s*(.+)", str(error))
            raise PackageError(f"{path}: refused: not a model file, damaged, or made to mislead "
                               f"({quoted(reason[1]) if reason else _first_line(error)}); copy or export it again"
                               ) from error
        raise PackageError(f"{path}: refused: it names {quoted(found[1])}, which no file of Demucs 3 or 4 needs; "
                           f"constructing that could run code. If you trust the file, save its weights as safetensors "
                           f"with the program that wrote it.") from error
    except Exception as error:   # damaged archives raise many types of exceptions
        raise PackageError(f"{path}: not a model file, or cut short ({_first_line(error)}); copy or export it "
                           f"again") from error


def damaged_part(path: tp.Union[str, Path]) -> tp.Optional[str]:
    """Description of the damage to a torch archive, found by its CRC checksums, which torch does not verify; None if
    there is none. None also for a missing file and for another format, for which `read` raises the error."""
    try:
        with open(path, "rb") as file:
            if file.read(len(ZIP)) != ZIP:
                return None
            size = file.seek(0, 2)
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                if any(member.compress_type != zipfile.ZIP_STORED for member in members) \
                        or sum(member.file_size for member in members) > size:
                    return "damaged: it claims to hold more than its size, which torch never writes"
                member = archive.testzip()
    except OSError:
        return None
    except Exception as error:       # damaged archives raise many types of exceptions
        return f"damaged: it is cut short, or the list of its parts is not as it was written ({_first_line(error)})"
    if member is None:
        return None
    what = "the weights are damaged" if "/data/" in member else "damaged"
    return f"{what}: {member!r} in it has another checksum than when it was written"


def plain(value: tp.Any, where: tp.Union[str, Path]) -> tp.Any:
    """Copy of `value` as lists, dictionaries, numbers, strings, None and `Fraction`s. Configuration nodes are replaced
    by their content, tuples by lists.

    Raises:
        PackageError: with `where`, for objects of other types, and for values that are nested too deep or too large.
    """
    left = SIZE

    def convert(item: tp.Any, depth: int) -> tp.Any:
        nonlocal left
        left -= 1
        if depth > DEPTH or left < 0:
            raise PackageError(f"{where}: its settings are nested too deep or too many; they were made to mislead")
        if isinstance(item, Node):
            attributes = item.attributes
            return convert(attributes.get("_content", attributes.get("_val")), depth + 1)
        if isinstance(item, dict):
            return {_key(key, where): convert(part, depth + 1) for key, part in item.items()}
        if type(item) in (list, tuple):
            return [convert(part, depth + 1) for part in item]
        if item is None or type(item) in (bool, int, float, str, Fraction):
            return item
        raise PackageError(f"{where}: its settings hold {_described(item)}, which is no number or string")
    return convert(value, 0)


def _key(key: tp.Any, where: tp.Union[str, Path]) -> tp.Union[str, int]:
    if type(key) in (str, int):
        return key
    raise PackageError(f"{where}: its settings have {_described(key)} as a name")


def _described(item: tp.Any) -> str:
    return quoted(item.name) if isinstance(item, Reference) else f"a {type(item).__name__}"


def _first_line(error: Exception) -> str:
    return quoted((str(error).splitlines() or [type(error).__name__])[0])
