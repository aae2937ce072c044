"""Folders of songs, as in `wav`, without folders for splits, such as those of the Sound Demixing Challenge 2023:
ROOT/SONG/SOURCE.wav. The mixture of a song without a mixture file is the sum of its stems."""

from pathlib import Path

from ..tracks import Tracks
from .folders import folder_tracks
from .settings import KindSettings, in_splits


@in_splits
def tracks(settings: KindSettings, folder: Path) -> Tracks:
    return folder_tracks(folder, settings.sources, missing=settings.missing)
