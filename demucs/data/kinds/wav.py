"""Folders of one's own: ROOT/train, ROOT/valid and ROOT/test hold a folder per song."""

from ..tracks import Tracks
from .settings import KindSettings


def tracks(settings: KindSettings, split: str) -> Tracks:
    return settings.folder(split)
