"""Custom datasets: ROOT/train, ROOT/valid and ROOT/test have one folder per song."""

from ..tracks import Tracks
from .settings import KindSettings


def tracks(settings: KindSettings, split: str) -> Tracks:
    """Songs of `split` ("train", "valid" or "test") and their faults: those in the folder of that name in
    `settings.root`."""
    return settings.folder(split)
