"""Kinds of datasets, which are different layouts of their files.

A kind is a function from the settings and a split ("train", "valid" or "test") to the songs of that split. A new kind
needs a module here and an entry in the table.
"""

import typing as tp

from ...errors import ConfigError, did_you_mean
from ..tracks import Tracks
from . import musdb, wav
from .settings import KindSettings

Kind = tp.Callable[[KindSettings, str], Tracks]

KINDS: tp.Dict[str, Kind] = {"musdb": musdb.tracks, "wav": wav.tracks}


def check(kind: str) -> None:
    """Check that `kind` is one of `KINDS`.

    Raises:
        ConfigError: if it is not.
    """
    if kind not in KINDS:
        raise ConfigError(f"dset.kind={kind!r} is unknown; use one of {', '.join(KINDS)}.{did_you_mean(kind, KINDS)}")
