"""MUSDB18-HQ: ROOT/train holds the songs of training and validation, which are told apart by name, ROOT/test the others."""

from pathlib import Path

from ...errors import DatasetError
from ..musdb import VALIDATION_TRACKS
from ..tracks import Tracks
from .folders import folder_tracks
from .settings import KindSettings


def is_validation(name: str) -> bool:
    """Whether a song is one of the 14 official validation tracks, wherever its folder lies."""
    return Path(name).name in VALIDATION_TRACKS


def tracks(settings: KindSettings, split: str) -> Tracks:
    found = folder_tracks(settings.root / ("test" if split == "test" else "train"), settings.sources)
    if split == "test":
        return found
    chosen = found.select(lambda name: is_validation(name) == (split == "valid"))
    if not chosen.tracks and not found.faults:
        other = len(found.tracks)
        train, valid = (0, other) if split == "train" else (other, 0)
        raise DatasetError(f"{found.root}: {train} tracks to train on and {valid} of the official validation tracks (such as "
                           f"{VALIDATION_TRACKS[0]!r}); both are needed, is this a MUSDB18-HQ folder?")
    return chosen
