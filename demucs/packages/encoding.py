"""Encoding of model arguments for formats without fractions, as in the safetensors files of published Demucs.

A segment such as 39/5 s must be restored exactly, since it is a length in samples. It is stored as
`{"_type": "fraction", "numerator": 39, "denominator": 5}`.
"""

import typing as tp
from fractions import Fraction
from pathlib import Path

from ..errors import PackageError, quoted


def encode(value: tp.Any) -> tp.Any:
    """Copy of nested dicts, lists and tuples in which every `Fraction` is a dictionary of plain values, and every tuple
    a list."""
    if isinstance(value, Fraction):
        return {"_type": "fraction", "numerator": value.numerator, "denominator": value.denominator}
    if isinstance(value, dict):
        return {key: encode(item) for key, item in value.items()}
    return [encode(item) for item in value] if isinstance(value, (list, tuple)) else value


def decode(value: tp.Any, where: tp.Union[str, Path]) -> tp.Any:
    """Inverse of `encode`, except that tuples stay lists. `value` may be untrusted. Raises PackageError, with the name
    `where`, for an invalid fraction."""
    if isinstance(value, dict) and value.get("_type") == "fraction":
        parts = value.get("numerator"), value.get("denominator")
        if not all(type(part) is int for part in parts) or parts[1] == 0:
            raise PackageError(f"{where}: {quoted(value)} is not a fraction")
        return Fraction(*parts)
    if isinstance(value, dict):
        return {key: decode(item, where) for key, item in value.items()}
    return [decode(item, where) for item in value] if isinstance(value, list) else value
