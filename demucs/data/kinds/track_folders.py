"""Folders of tracks as in Open-Unmix: SPLIT/TRACK/ has the files that `dset.files` names.

- aligned: the mixture and the target; the rest is their difference.
- trackfolder_fix: the target and the same interferers in every track.
- trackfolder_var: the target and any other files; their sum is the rest of the song.

Splits are train/, valid/ and test/; without test/ the songs of valid/ are the test songs. Names are sorted, and hidden
files ignored. The files of a track may differ in length; shorter ones end in silence.
"""

import logging
import os
import typing as tp
from pathlib import Path

from ...errors import ConfigError, DatasetError, did_you_mean
from ..faults import NAMED, broken_link, unreadable
from ..tracks import MIXTURE, OTHERS, Files, Track, Tracks
from . import file_names
from .file_names import ALIGNED, FIXED, VARIABLE, FileNames
from .folders import dataset_folder, left_out
from .settings import Kind, KindSettings

logger = logging.getLogger(__name__)

MIXTURES = (MIXTURE, "mix")         # names of files without suffix that are no source
VALID = ("valid", "validation")


class Missing(DatasetError):
    """Error for a track that lacks a file, which may be left out. `files` are the names of those."""

    def __init__(self, message: str, files: tp.Sequence[str]):
        super().__init__(message)
        self.files = files


def _valid_folder(root: Path) -> Path:
    return next((root / name for name in VALID if (root / name).is_dir()), root / VALID[0])


def tested_split(root: Path) -> str:
    """Name of the folder with the test songs: that of the validation if there is no folder test/."""
    valid = _valid_folder(root)
    return valid.name if not (root / "test").is_dir() and valid.is_dir() else "test"


def split_folder(root: Path, split: str) -> Path:
    """Folder of a split ("train", "valid" or "test") in the folder of a dataset; that of the validation if there are no
    test songs. Raises DatasetError if it is missing or cannot be listed."""
    if split == "test" and tested_split(root) != "test":
        logger.warning("%s has no folder test/: the songs in %s/, which also select the best weights, are its test songs",
                       root, tested_split(root))
        return dataset_folder(_valid_folder(root))
    return dataset_folder(_valid_folder(root) if split == "valid" else root / split)


def listed(folder: Path) -> tp.List[Path]:
    """What is in a folder, sorted by name, without hidden files. Raises DatasetError if it cannot be listed."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DatasetError(unreadable(folder, error)) from error


def _kind(name: str, track: tp.Callable[["_Folder", KindSettings, FileNames], Track]) -> Kind:
    """Kind whose songs `track` makes of folders."""
    def tracks(settings: KindSettings, split: str) -> Tracks:
        names = settings.names(name)
        root = split_folder(settings.root, split)
        return settings.once(root, lambda: _tracks(root, name, settings, names, track))
    return tracks


class _Folder:
    """The folder of a track, its files, and the names of those that are no source."""

    def __init__(self, path: Path):
        self.path = path
        self.files = [file for file in listed(path) if not file.is_dir()]
        self.left: tp.List[str] = []

    def find(self, name: str, *, pattern: bool = False) -> Files:
        """The file `name`, or the one that it matches as a pattern; none if there is no such file.

        Raises:
            DatasetError: if it is a broken link or a folder, or several match.
        """
        path = self.path / name
        found = [path] if os.path.lexists(path) else []
        if not found and pattern and set(name) & file_names.PATTERN:
            found = sorted(match for match in self.path.glob(name) if not match.name.startswith("."))
            if len(found) > 1:
                raise DatasetError(f"track {self.path.name}: {len(found)} files in {self.path} match {name!r} "
                                   f"({', '.join(match.name for match in found[:NAMED])}); give a pattern of one of them")
        for match in found:
            broken = broken_link(match)
            if broken or match.is_dir():
                raise DatasetError(f"track {self.path.name}: {broken or f'{match}: is a folder, and no file; rename it'}")
        return tuple(found)

    def missing(self, names: tp.Sequence[str], advice: str = "") -> Missing:
        """Error for the files `names`, with the nearest ones."""
        there = [file.name for file in self.files]
        hint = next(filter(None, (did_you_mean(name, there) for name in names)), "")
        return Missing(f"track {self.path.name}: {', '.join(str(self.path / name) for name in names)} "
                       f"{'is' if len(names) == 1 else 'are'} missing{advice}; add the file, or set dset.missing=exclude to leave "
                       f"such tracks out, or dset.missing=silence.{hint}", names)


def _tracks(root: Path, kind: str, settings: KindSettings, names: FileNames,
            track: tp.Callable[[_Folder, KindSettings, FileNames], Track]) -> Tracks:
    found, faults = [], []
    excluded: tp.List[str] = []
    left: tp.Dict[str, int] = {}
    for path in listed(root):
        broken = broken_link(path)
        if broken:
            faults.append(broken)
        elif path.is_dir():
            try:
                folder = _Folder(path)
                found.append(track(folder, settings, names))
                for name in folder.left:
                    left[name] = left.get(name, 0) + 1
            except Missing as error:
                if settings.missing == "exclude":
                    excluded.append(f"{path.name} ({', '.join(error.files)})")
                else:
                    faults.append(str(error))
            except DatasetError as error:
                faults.append(str(error))
    if excluded:
        logger.warning("%s: %d of %d tracks lack files and are left out: %s", root, len(excluded), len(excluded) + len(found),
                       _some(excluded))
    if left:
        logger.info("%s: mixtures are no sources: %s", root,
                    _some([f"{name} (in {count} {'track' if count == 1 else 'tracks'})" for name, count in sorted(left.items())]))
    if not found and not faults:
        raise DatasetError(f"dataset folder {root} has no track {'with all files' if excluded else 'folders'} in it; "
                           f"dset.kind={kind} expects TRACK/{EXPECTED[kind](names)}")
    return Tracks(root, found, faults)


def _some(words: tp.Sequence[str]) -> str:
    return ", ".join(words[:NAMED]) + (f" and {len(words) - NAMED} more" if len(words) > NAMED else "")


EXPECTED: tp.Dict[str, tp.Callable[[FileNames], str]] = {
    ALIGNED: lambda names: "{%s,%s}" % (names.input, names.output),
    FIXED: lambda names: "{%s}" % ",".join([names.target or "", *names.interferers]),
    VARIABLE: lambda names: "%s and TRACK/*%s" % (names.target, names.suffix)}


def _aligned(folder: _Folder, settings: KindSettings, names: FileNames) -> Track:
    target, = settings.sources[:1]
    mixture, output = (folder.find(name or "", pattern=True) for name in (names.input, names.output))
    lacking = [str(name) for name, files in ((names.input, mixture), (names.output, output)) if not files]
    if lacking and (settings.missing != "silence" or not mixture):
        raise folder.missing(lacking)
    return Track(folder.path.name, {target: output}, mixture, (), folder.path, ragged=True)


def _fixed(folder: _Folder, settings: KindSettings, names: FileNames) -> Track:
    files = dict(zip(file_names.sources(FIXED, names), [names.target or "", *names.interferers]))
    stems = {source: folder.find(files[source]) for source in settings.sources}
    lacking = [files[source] for source, found in stems.items() if not found]
    if lacking and (settings.missing != "silence" or len(lacking) == len(stems)):
        raise folder.missing(lacking)
    return Track(folder.path.name, stems, (), tuple(source for source, found in stems.items() if found), folder.path,
                 ragged=True)


def _variable(folder: _Folder, settings: KindSettings, names: FileNames) -> Track:
    source, = settings.sources[:1]
    target = folder.find(names.target or "")
    others = []
    for path in folder.files:
        if not path.name.lower().endswith(names.suffix) or path in target or path.stem == source:
            continue
        name = path.stem.lower()
        if name in MIXTURES or left_out(name) is not None or path.name == names.input:
            folder.left.append(path.name)
            continue
        broken = broken_link(path)
        if broken:
            raise DatasetError(f"track {folder.path.name}: {broken}")
        others.append(path)
    if not target and not (others and settings.missing == "silence"):
        raise folder.missing([names.target or ""], "" if others else f", and so are other files *{names.suffix}")
    stems: tp.Dict[str, Files] = {source: target, OTHERS: tuple(others)}
    return Track(folder.path.name, stems, (), tuple(stem for stem, files in stems.items() if files), folder.path, ragged=True)


aligned, fixed, variable = _kind(ALIGNED, _aligned), _kind(FIXED, _fixed), _kind(VARIABLE, _variable)


def require_known(kind: str, settings: KindSettings) -> None:
    """Raise ConfigError if `dset.missing` is a rule that another kind of dataset does not have."""
    if settings.missing == "exclude" and kind not in file_names.NEEDED:
        raise ConfigError(f"dset.missing=exclude has no effect with dset.kind={kind}: use error or silence, or remove the songs")
