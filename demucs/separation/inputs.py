"""Audio files in folders, to be separated."""

import os
import typing as tp
from pathlib import Path

from ..errors import AudioError

# Names of the common formats that libsndfile or ffmpeg read; without those of videos.
SUFFIXES = (".aac", ".aif", ".aiff", ".ape", ".au", ".caf", ".flac", ".m4a", ".mka", ".mp2", ".mp3", ".oga", ".ogg",
            ".opus", ".rf64", ".tta", ".w64", ".wav", ".wma", ".wv")


class Song(tp.NamedTuple):
    """Audio file, and its folder relative to the folder that was given ("." for a file that was given itself)."""
    path: Path
    inside: Path


def songs_in(folder: Path, *, without: tp.Iterable[Path] = ()) -> tp.List[Song]:
    """Audio files in `folder` and its subfolders, in the order of their names. Hidden files and folders, links to
    folders, and the folders `without` are left out.

    Raises:
        AudioError: if a folder cannot be read, or there is none of these files.
    """
    def failed(error: OSError) -> tp.NoReturn:
        raise AudioError(f"{error.filename}: cannot be read ({error.strerror})") from error

    omitted = {os.path.realpath(each) for each in without}
    found = []
    for place, folders, files in os.walk(folder, onerror=failed):
        folders[:] = sorted(name for name in folders if not name.startswith(".")
                            and os.path.realpath(os.path.join(place, name)) not in omitted)
        found += [Song(Path(place, name), Path(place).relative_to(folder)) for name in sorted(files)
                  if not name.startswith(".") and name.lower().endswith(SUFFIXES)]
    if not found:
        raise AudioError(f"{folder}: there is no audio file in this folder; files are chosen by their names "
                         f"(*{', *'.join(SUFFIXES)})")
    return found
