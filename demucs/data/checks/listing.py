"""Songs of a dataset by split, with its kind and sources where they are not given."""

import collections
import os
import typing as tp
from pathlib import Path

from ...errors import ConfigError, DatasetError
from ...schema import SOURCES
from .. import kinds
from ..kinds import file_names, moises, slakh
from ..kinds.folders import WITHOUT, WITHOUT_VOCALS, folder_tracks
from ..tracks import MIXTURE, SUFFIXES, Tracks

SPLITS = ("train", "valid", "test")
FOLDERS = "folders"      # kind of a folder of songs without splits
DESCRIPTIONS = {moises.DESCRIPTION: "moises", slakh.DESCRIPTION: "slakh"}     # file in every song -> kind
NAMED = (FOLDERS, "musdb", "wav", "songs", "sdx23")      # kinds whose files have the names of sources
WHOLE = "all"            # name of their only split
OFTEN = 0.5              # share of the songs that have a file of that name, if it is a source


class Listing(tp.NamedTuple):
    """Songs by split, and the kind and sources with which they were found."""
    kind: str
    sources: tp.List[str]
    splits: tp.Dict[str, Tracks]


def list_songs(root: Path, kind: tp.Optional[str] = None, sources: tp.Optional[tp.Sequence[str]] = None, *,
               missing: str = "error", instruments: str = "", split: str = "") -> Listing:
    """All songs in `root`.

    Args:
        kind: as `dset.kind`; by default that of `DESCRIPTIONS`, "wav" for a folder with train/ and valid/, "musdb" with
            train/ or test/, else `FOLDERS`: all songs below.
        sources: by default those of MUSDB if most songs have them, else the names of files that most songs have.
        missing, instruments, split: as in `KindSettings`.

    Raises:
        ConfigError: if the kind is unknown, or a setting is invalid.
        DatasetError: if the folder is missing, or has no song in any split.
    """
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; give the folder of the dataset")
    if kind is not None and kind != FOLDERS:
        kinds.check(kind)
    if kind in file_names.NEEDED:
        raise ConfigError(f"--kind {kind}: needs names of files (dset.files), which a check does not take; use --kind wav, and "
                          f"--sources with the names of the files without their suffix")
    kind = kind or guessed_kind(root)
    sources = list(sources or (guessed_sources(root) if kind in NAMED else SOURCES))
    if kind == FOLDERS:
        return Listing(kind, sources, {WHOLE: folder_tracks(root, sources, missing=missing)})
    settings = kinds.KindSettings(root, tuple(sources), missing=missing, instruments=instruments, split=split)
    splits: tp.Dict[str, Tracks] = {}
    refused = []
    for name in SPLITS:
        try:
            splits[name] = kinds.tracks(kind, settings, name)
        except DatasetError as error:
            refused.append(str(error))
            if (root / name).is_dir():
                splits[name] = Tracks(root, [], [str(error)])
    if not any(found.tracks or found.faults for found in splits.values()):
        raise DatasetError(f"{root}: no song of kind {kind}: {refused[0] if refused else 'its folders are empty'}")
    return Listing(kind, sources, splits)


def guessed_kind(root: Path) -> str:
    """Kind of the dataset in `root` by its folders and files."""
    for name, kind in DESCRIPTIONS.items():
        if any(next(root.glob(f"{above}{name}"), None) for above in ("*/", "*/*/", "*/*/*/")):
            return kind
    has = {split for split in SPLITS if (root / split).is_dir()}
    return "wav" if "valid" in has else "musdb" if has else FOLDERS


def guessed_sources(root: Path) -> tp.List[str]:
    """Names of the stems in most songs; those of MUSDB if all of them are. Raises DatasetError if there are none."""
    counts: tp.Counter[str] = collections.Counter()
    seen = set()
    for folder, inner, files in os.walk(root, followlinks=True):      # errors are reported when the songs are listed
        real = os.path.realpath(folder)
        inner[:] = [] if real in seen else [name for name in inner if not name.startswith(".")]
        if real not in seen:
            counts.update({Path(name).stem for name in files if Path(name).suffix.lower() in SUFFIXES
                           and not name.startswith(".")})
        seen.add(real)
    counts.pop(MIXTURE, None)
    most = max(counts.values(), default=0)
    names = sorted(name for name, count in counts.items() if count >= max(1, OFTEN * most))
    if set(SOURCES) <= set(names):
        return list(SOURCES)
    plain = [name for name in names if name not in WITHOUT_VOCALS and not name.startswith(WITHOUT)]
    if not names:
        raise DatasetError(f"{root}: no folder with stems ({', '.join(SUFFIXES)}) in it; expected "
                           f"SONG/{SOURCES[0]}.wav, ..., in it or in train/, valid/ and test/")
    return plain if len(plain) > 1 else names
