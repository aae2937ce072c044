"""Custom datasets: ROOT/train, ROOT/valid and ROOT/test have one folder per song."""

from ..tracks import Tracks
from .settings import KindSettings


def tracks(settings: KindSettings, split: str) -> Tracks:
    """Songs in ROOT/SPLIT."""
    return settings.folder(split)
