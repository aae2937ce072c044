"""Checksum over the complete content of a package: model, arguments, names of sources, card, and every bit of the
weights.

The hash on a card covers weights only, and safetensors files have no checksum of their own. Older packages without this
checksum are still read; `weights.confirm` describes how they are checked.
"""

import hashlib
import typing as tp
from fractions import Fraction
from pathlib import Path

import torch

from ..errors import PackageError
from .pickled import DEPTH, Reference

KEY = "checksum"      # key of the checksum in a package
DIGITS = 16           # number of hexadecimal digits of the sha256


def checksum(content: tp.Mapping[str, tp.Any], path: tp.Union[str, Path], *, size: tp.Optional[int] = None) -> str:
    """First 16 hexadecimal digits of the sha256 over `content` without its entry KEY, in the order of its entries.

    Args:
        content: containers, numbers, strings, fractions, references and tensors on the CPU.
        path: for error messages.
        size: size in bytes of the file that `content` was read from. A tensor may claim any shape over a few stored
            values.

    Raises:
        PackageError: for objects of other types, tensors larger than `size` in all, and deep nesting.
    """
    digest = hashlib.sha256()
    left = size

    def feed(value: tp.Any, depth: int) -> None:
        nonlocal left
        if depth > DEPTH:
            raise PackageError(f"{path}: is nested too deep; it was made to mislead")
        if isinstance(value, torch.Tensor):
            if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
                raise PackageError(f"{path}: holds a tensor of another kind than weights have; export it again")
            if left is not None:
                left -= value.numel() * value.element_size()
                if left < 0:
                    raise PackageError(f"{path}: its weights claim more values than the file holds; it was made to "
                                       f"mislead")
            digest.update(f"tensor {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        elif isinstance(value, dict):
            digest.update(f"dictionary {len(value)}\n".encode())
            for key, item in value.items():
                feed(key, depth + 1)
                feed(item, depth + 1)
        elif isinstance(value, (list, tuple)):
            digest.update(f"{'tuple' if isinstance(value, tuple) else 'list'} {len(value)}\n".encode())
            for item in value:
                feed(item, depth + 1)
        elif isinstance(value, Reference):
            feed(value.name, depth + 1)
        elif value is None or type(value) in (bool, int, float, str, Fraction):
            digest.update(f"{type(value).__name__} {value!a}\n".encode())
        else:
            raise PackageError(f"{path}: holds a {type(value).__name__}, which no package needs; export it again")

    feed({key: value for key, value in content.items() if key != KEY}, 0)
    return digest.hexdigest()[:DIGITS]


def sealed(content: tp.Mapping[str, tp.Any], path: tp.Union[str, Path]) -> tp.Dict[str, tp.Any]:
    """Copy of `content` with its checksum as the entry KEY; see `checksum`."""
    return {**content, KEY: checksum(content, path)}


def require_unchanged(content: tp.Mapping[str, tp.Any], path: Path) -> None:
    """Check that the checksum of `content`, which was read from `path`, is the one stored in its entry KEY. Packages of
    older versions have none and pass.

    Raises:
        PackageError: if it is another.
    """
    if KEY not in content:
        return
    found = checksum(content, path, size=path.stat().st_size)
    if found != content[KEY]:
        raise PackageError(f"{path}: damaged, or was changed: its checksum is {found}, it was written with "
                           f"{str(content[KEY])[:2 * DIGITS]!r}; copy or export it again")
