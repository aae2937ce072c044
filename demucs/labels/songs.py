"""Unlabelled songs: audio files in a folder, at any depth, and names for their labels."""

import os
import re
import typing as tp
from dataclasses import dataclass
from pathlib import Path

from ..data.faults import broken_link, unreadable
from ..data.tracks import MIXTURE
from ..errors import DatasetError

SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff", ".aif", ".m4a", ".mp4", ".aac", ".wma")
STEM_FILE = ".stem.mp4"          # of MUSDB18: its first stream is the mixture
LONGEST = 150                    # bytes of a name; file systems allow 255, and temporary names are longer


@dataclass(frozen=True)
class UnlabelledSong:
    """A song without stems. `name` is the name of its folder in a dataset, `relative` that of `path` in the folder of
    the songs."""
    name: str
    path: Path
    relative: str


def find_unlabelled(root: tp.Union[str, Path]) -> tp.Tuple[tp.List[UnlabelledSong], tp.Dict[str, str]]:
    """(songs below `root` in the order of their files, faults of what cannot be used by file name).

    A folder with a file mixture.* is one song, whose other files (such as stems) are not read; every other audio file
    is a song. Hidden files are ignored, and links are followed. Names are the paths below `root`, joined by " - ".

    Raises:
        DatasetError: if there is no such folder, or no song in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; give the folder with the songs to be labelled")
    files: tp.List[Path] = []
    faults: tp.Dict[str, str] = {}

    def walk(folder: Path, ancestors: tp.FrozenSet[str]) -> None:
        real = os.path.realpath(folder)
        if real in ancestors:
            faults[_relative(folder, root)] = "a link to a folder that contains it; remove the link"
            return
        try:
            entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        except OSError as error:
            faults[_relative(folder, root)] = unreadable(folder, error)
            return
        for path in entries:
            broken = broken_link(path)
            if broken:
                faults[_relative(path, root)] = broken
        audio = [path for path in entries if path.suffix.lower() in SUFFIXES and path.is_file()]
        mixtures = [path for path in audio if path.stem.lower() == MIXTURE]
        files.extend(mixtures[:1] or audio)
        if not mixtures:
            for path in entries:
                if path.is_dir():
                    walk(path, ancestors | {real})

    walk(root, frozenset())
    if not files:
        found = "; ".join(f"{name}: {reason}" for name, reason in list(faults.items())[:3])
        raise DatasetError(f"{root}: contains no audio file ({', '.join(SUFFIXES)}){f' ({found})' if found else ''}; "
                           f"give the folder with the songs to be labelled")
    songs, taken = [], set()
    for path in files:
        name = _free_name(_name(path, root), taken)
        taken.add(name.casefold())
        songs.append(UnlabelledSong(name, path, _relative(path, root)))
    return songs, faults


def _relative(path: Path, root: Path) -> str:
    return os.fsencode(path.relative_to(root)).decode("utf-8", "backslashreplace")


def _name(path: Path, root: Path) -> str:
    """Name of a song from its path: that of its folder for mixture.*, otherwise that of the file."""
    parts = list(path.relative_to(root).parts)
    last = parts[-1][:-len(STEM_FILE)] if parts[-1].lower().endswith(STEM_FILE) else Path(parts[-1]).stem
    parts[-1:] = [] if last.lower() == MIXTURE and len(parts) > 1 else [last]
    name = " - ".join(parts)
    name = re.sub(r"[\x00-\x1f\x7f]", "_", os.fsencode(name).decode("utf-8", "backslashreplace")).strip()
    name = os.fsencode(name)[:LONGEST].decode("utf-8", "ignore").rstrip()
    return f"_{name}" if not name or name.startswith(".") else name


def _free_name(name: str, taken: tp.Container[str]) -> str:
    """`name`, or with a number if it is taken. Case is ignored, as some file systems do."""
    number, free = 1, name
    while free.casefold() in taken:
        number += 1
        free = f"{name} ({number})"
    return free
