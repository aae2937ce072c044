"""MUSDB18-HQ: ROOT/train has the songs for training and validation, distinguished by name; ROOT/test has the test
songs."""

from pathlib import Path

from ..musdb import VALIDATION_TRACKS
from ..tracks import Tracks
from .settings import KindSettings


def is_validation(name: str) -> bool:
    """Whether a song is one of the 14 official validation tracks, by the last part of its name."""
    return Path(name).name in VALIDATION_TRACKS


def tracks(settings: KindSettings, split: str) -> Tracks:
    if split == "test":
        return settings.folder("test")
    return settings.folder("train").select(lambda name: is_validation(name) == (split == "valid"))
