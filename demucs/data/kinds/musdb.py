"""MUSDB18-HQ: ROOT/train has the songs for training and validation, distinguished by name; ROOT/test has the test
songs."""

from pathlib import Path

from ..musdb import VALIDATION_TRACKS
from ..tracks import Tracks
from .settings import KindSettings


def is_validation(name: str) -> bool:
    """Whether the last part of `name` is that of one of the 14 official validation tracks."""
    return Path(name).name in VALIDATION_TRACKS


def tracks(settings: KindSettings, split: str) -> Tracks:
    """Songs of `split` of MUSDB18-HQ and their faults: for "train" and "valid" those of `settings.root`/train, for
    "test" those of `settings.root`/test."""
    if split == "test":
        return settings.folder("test")
    return settings.folder("train").select(lambda name: is_validation(name) == (split == "valid"))
