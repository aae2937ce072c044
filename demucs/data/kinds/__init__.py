"""Kinds of datasets: where the files of the songs lie.

A kind is a function from the settings and a split ("train", "valid" or "test") to the songs of that split. A further kind
is a file here and an entry in the table.
"""

import typing as tp
from pathlib import Path

from ...errors import ConfigError, did_you_mean
from ..tracks import Tracks
from . import musdb, wav
from .settings import KindSettings

Kind = tp.Callable[[KindSettings, str], Tracks]

KINDS: tp.Dict[str, Kind] = {"musdb": musdb.tracks, "wav": wav.tracks}


def tracks(kind: str, root: tp.Union[str, Path], split: str, *, sources: tp.Sequence[str]) -> Tracks:
    """The songs of a split of the dataset in `root`.

    Raises:
        ConfigError: for an unknown kind.
        DatasetError: where the folder of the split is missing or holds no song.
    """
    if kind not in KINDS:
        raise ConfigError(f"dset.kind={kind!r} is unknown; use one of {', '.join(KINDS)}.{did_you_mean(kind, KINDS)}")
    return KINDS[kind](KindSettings(Path(root), tuple(sources)), split)
