"""Kinds of datasets, which are different layouts of their files.

A kind is a function from the settings and a split ("train", "valid" or "test") to the songs of that split. A new kind
needs a module here and an entry in the table. A kind of one's own is named by its module and function, as in
`my_songs:tracks`, and needs no change here.
"""

import importlib
import os
import sys
import typing as tp

from ...errors import ConfigError, DatasetError, DemucsError, did_you_mean
from ..tracks import Track, Tracks
from . import file_names, moises, musdb, slakh, songs, source_folders, track_folders, wav
from .settings import Kind, KindSettings

KINDS: tp.Dict[str, Kind] = {"musdb": musdb.tracks, "wav": wav.tracks, "songs": songs.tracks, "sdx23": songs.tracks,
                             "moises": moises.tracks, "slakh": slakh.tracks,
                             file_names.ALIGNED: track_folders.aligned, file_names.SOURCES: source_folders.tracks,
                             file_names.FIXED: track_folders.fixed, file_names.VARIABLE: track_folders.variable}


def check(kind: str) -> None:
    """Raise ConfigError if the kind is unknown. The module of a kind of one's own is imported."""
    if ":" in kind:
        _own(kind)
    elif kind not in KINDS:
        raise ConfigError(f"dset.kind={kind!r} is unknown; use one of {', '.join(KINDS)}, or MODULE:FUNCTION of your own."
                          f"{did_you_mean(kind, KINDS)}")


def tracks(kind: str, settings: KindSettings, split: str) -> Tracks:
    """Songs of a split ("train", "valid" or "test") of the dataset of a kind.

    Raises:
        ConfigError: for an unknown kind, or invalid settings.
        DatasetError: if there are none.
    """
    track_folders.require_known(kind, settings)
    if ":" not in kind:
        check(kind)
        return KINDS[kind](settings, split)
    try:
        found = _own(kind)(settings, split)
    except DemucsError:
        raise
    except Exception as error:
        raise DatasetError(f"dset.kind={kind}: listing split {split!r} failed ({type(error).__name__}: {error}); correct that "
                           f"function") from error
    if not isinstance(found, Tracks) or not all(isinstance(track, Track) for track in found.tracks):
        raise DatasetError(f"dset.kind={kind}: must return Tracks of Track (demucs.data.tracks), got {type(found).__name__}")
    names = [track.name for track in found.tracks]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise DatasetError(f"dset.kind={kind}: returns two songs named {twice!r}; give each its own name")
    return found


def _own(kind: str) -> Kind:
    """The function MODULE:FUNCTION. The module is found in the working directory, too. Raises ConfigError if there is
    none."""
    module, _, name = kind.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), name)):
        raise ConfigError(f"dset.kind={kind!r} must be MODULE:FUNCTION, such as my_songs:tracks for a function in my_songs.py")
    here = os.getcwd()
    sys.path.append(here)
    try:
        function = getattr(importlib.import_module(module), name)
    except Exception as error:      # of any kind: it is the user's code
        reason = str(error) if isinstance(error, (ImportError, AttributeError)) else f"{type(error).__name__}: {error}"
        raise ConfigError(f"dset.kind={kind}: cannot be imported ({reason}); the module is a file in {here} or an installed "
                          f"package") from error
    finally:
        sys.path.remove(here)
    if not callable(function):
        raise ConfigError(f"dset.kind={kind}: {name} is no function")
    return tp.cast(Kind, function)
