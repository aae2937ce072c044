"""MUSDB18-HQ: ROOT/train holds the songs of training and validation, which are told apart by name, ROOT/test the others."""

from pathlib import Path

from ..musdb import VALIDATION_TRACKS
from ..tracks import Tracks
from .settings import KindSettings


def is_validation(name: str) -> bool:
    """Whether a song is one of the 14 official validation tracks, wherever its folder lies."""
    return Path(name).name in VALIDATION_TRACKS


def tracks(settings: KindSettings, split: str) -> Tracks:
    if split == "test":
        return settings.folder("test")
    return settings.folder("train").select(lambda name: is_validation(name) == (split == "valid"))
