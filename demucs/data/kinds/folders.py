"""Songs as folders with one file per stem: a dataset is a folder of such folders, nested to any depth.

A folder that contains a stem is a song, whatever else it contains; folders inside it are ignored, and named in the log.
The mixture of a song without a mixture file is the sum of its stems, computed when needed and never written.
"""

import collections
import dataclasses
import errno
import logging
import os
import re
import typing as tp
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import DatasetError
from ..faults import NAMED, broken_link, unreadable
from ..tracks import MIXTURE, SUFFIXES, Files, Track, Tracks

logger = logging.getLogger(__name__)

_RANKS = {suffix: rank for rank, suffix in enumerate(SUFFIXES)}
WITHOUT_VOCALS = ("instrumental", "accompaniment")
WITHOUT = ("no_", "minus_")       # prefixes of the name of the omitted source


class Song(tp.NamedTuple):
    """Folder of a song, its audio files as in `stem_files`, and which of these are links."""
    folder: Path
    files: tp.Dict[str, Path]
    links: tp.FrozenSet[str]


@dataclass
class Folders:
    """Songs and other content found in a dataset folder.

    Attributes:
        songs: folders of songs.
        faults: messages about folders and links that cannot be used.
        beside: names of other files and folders in songs (those of folders end with a slash), with the number of songs.
    """
    songs: tp.List[Song] = field(default_factory=list)
    faults: tp.List[str] = field(default_factory=list)
    beside: tp.Counter[str] = field(default_factory=collections.Counter)


def find_songs(root: Path, is_stem: tp.Callable[[str], bool]) -> Folders:
    """Songs below `root`, sorted by path: folders with a file whose name satisfies `is_stem`, and other folders without
    subfolders, which may lack all stems. `root` itself is none. Hidden files and folders are ignored, links are
    followed."""
    found = Folders()

    def walk(folder: Path, real: str, ancestors: tp.FrozenSet[str]) -> None:
        if real in ancestors:
            found.faults.append(f"{folder}: a link to a folder that contains it; remove the link")
            return
        try:
            entries = sorted((entry for entry in os.scandir(folder) if not entry.name.startswith(".")),
                             key=lambda entry: entry.path)
        except OSError as error:
            found.faults.append(unreadable(folder, error))
            return
        stems = [entry for entry in entries if is_stem(entry.name)]
        song = Song(folder, _stem_files(entry.path for entry in entries),
                    frozenset(entry.path for entry in entries if entry.is_symlink()))
        if folder != root and stems:
            found.songs.append(song)
            if len(stems) < len(entries):
                found.beside.update(entry.name + "/" * entry.is_dir() for entry in entries if entry not in stems)
            return
        found.faults += filter(None, (broken_link(path) for path in sorted(song.links)))
        inner = [entry for entry in entries if entry.is_dir()]
        if not inner and folder != root:
            found.songs.append(song)
        for entry in inner:
            real_path = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(real, entry.name)
            walk(Path(entry.path), real_path, ancestors | {real})

    walk(root, os.path.realpath(root), frozenset())
    return found


def dataset_folder(root: tp.Union[str, Path]) -> Path:
    """Absolute path of the folder of a dataset. Raises DatasetError if it is missing or cannot be listed."""
    given, root = root, Path(root).absolute()
    if not os.path.isdir(root):
        raise DatasetError(f"dataset folder {given} does not exist (looked at {root}); check dset.musdb or dset.wav, "
                           f"or the environment variable DEMUCS_MUSDB")
    if not os.access(root, os.R_OK | os.X_OK):
        raise DatasetError(unreadable(root, PermissionError(errno.EACCES, os.strerror(errno.EACCES))))
    return root


def unique(tracks: tp.Sequence[Track]) -> tp.List[Track]:
    """The songs by name, sorted, with the name of the folder added to the name of those that share one. Separators of
    paths in names become underscores."""
    clean = [re.sub(r"[/\\\x00-\x1f]", "_", track.name).lstrip(".") or track.folder.name for track in tracks]
    shared = {name for name, count in collections.Counter(clean).items() if count > 1}
    named = [dataclasses.replace(track, name=f"{name} ({track.folder.name})" if name in shared else name)
             for name, track in zip(clean, tracks)]
    return sorted(named, key=lambda track: track.name)


def folder_tracks(root: tp.Union[str, Path], sources: tp.Sequence[str], *, missing: str = "error") -> Tracks:
    """Songs below `root`, each with the stems `sources`. Their names are relative to `root`. If `missing` is "silence",
    stems without a file are silent.

    A single source does not add up to a song: the mixture is then its file, or the sum of all stems in the folder.

    Raises:
        DatasetError: if the folder is missing or empty.
    """
    root = dataset_folder(root)
    names = {name.lower() for name in (*sources, MIXTURE)}
    found = find_songs(root, lambda name: _may_be_stem(name, names))
    if not found.songs and not found.faults:
        raise DatasetError(f"dataset folder {root} has no track folders in it; expected TRACK/{sources[0]}.wav, ...")
    _log_other_content(root, found.beside)
    tracks, faults = [], found.faults
    prefix = len(os.path.join(root, ""))
    for song in found.songs:
        try:
            tracks.append(_track(song, str(song.folder)[prefix:], sources, missing))
        except DatasetError as error:
            faults.append(str(error))
    return Tracks(root, tracks, faults)


def _may_be_stem(name: str, stems: tp.Container[str]) -> bool:
    """Whether a file has the name of a stem, ignoring case."""
    stem, suffix = os.path.splitext(name.lower())
    return stem in stems and suffix in SUFFIXES


def _track(song: Song, name: str, sources: tp.Sequence[str], rule: str) -> Track:
    """The song in a folder. Raises DatasetError if a stem is a broken link, or is missing and `rule` is not "silence"."""
    folder, files, links = song
    stems: tp.Dict[str, Files] = {}
    missing = []
    for source in (*sources, MIXTURE):
        path = files.get(source)
        broken = broken_link(path) if links and path is not None and str(path) in links else None
        if broken:
            raise DatasetError(f"track {folder.name}: {broken}")
        if path is not None:
            stems[source] = (path,)
        elif source != MIXTURE:
            stems[source] = ()
            missing.append(str(folder / f"{source}.wav"))
    nothing = len(missing) == len(sources) and not (len(sources) == 1 and (stems.get(MIXTURE) or whole_song(sorted(files))))
    if missing and (rule != "silence" or nothing):
        misnamed = [f"{files[name].name} is no {source}.wav: names of sources are case-sensitive" for source in sources
                    for name in sorted(files) if source not in files and name.lower() == source.lower()]
        raise DatasetError(f"track {folder.name}: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing; "
                           f"every track folder needs {', '.join(source + '.wav' for source in sources)} (and may have "
                           f"{MIXTURE}.wav)" + "".join(f"; {what}" for what in misnamed))
    mixture, mixed = stems.pop(MIXTURE, ()), tuple(source for source in sources if stems[source])
    if len(sources) == 1 and not mixture:
        mixed = whole_song(sorted(files))
        if not mixed:
            raise DatasetError(f"track {folder.name}: {folder} has no {MIXTURE}.wav, and {sources[0]} alone makes no song; add "
                               f"the mixture or the other stems")
        stems.update({stem: (files[stem],) for stem in mixed})
    return Track(name, stems, mixture, mixed, folder)


def _stem_files(paths: tp.Iterable[str]) -> tp.Dict[str, Path]:
    """As `stem_files`, from the paths of the files in a folder."""
    found: tp.Dict[str, tp.Tuple[int, str]] = {}
    for path in sorted(paths):
        stem, suffix = os.path.splitext(os.path.basename(path))
        rank = _RANKS.get(suffix.lower())
        if rank is not None and not stem.startswith(".") and (stem not in found or rank < found[stem][0]):
            found[stem] = rank, path
    return {stem: Path(path) for stem, (_, path) in sorted(found.items(), key=lambda item: (item[1][0], item[0]))}


def stem_files(folder: Path) -> tp.Dict[str, Path]:
    """Audio files in a folder by name without suffix, including the mixture and broken links, but not hidden files. Of
    several with the same name, the first type in `SUFFIXES` is taken."""
    return _stem_files(os.path.join(folder, name) for name in os.listdir(folder))


def whole_song(stems: tp.Sequence[str]) -> tp.Tuple[str, ...]:
    """Those of `stems` that add up to the song: all that are no complement of a source, or a source and its complement.
    () if fewer than two are left, so that it is unknown."""
    plain = tuple(stem for stem in stems if left_out(stem) is None)
    whole = plain if len(plain) > 1 else tuple(stems)
    return whole if len(whole) > 1 else ()


def left_out(name: str) -> tp.Optional[str]:
    """Source that a stem lacks according to its name: "drums" for "no_drums" or "minus_drums", "vocals" for
    "instrumental" or "accompaniment"; None for other names."""
    if name in WITHOUT_VOCALS:
        return "vocals"
    return next((name[len(prefix):] for prefix in WITHOUT if name.startswith(prefix)), None)


def _log_other_content(root: Path, beside: tp.Counter[str]) -> None:
    """Log one line about other files and folders in songs. A folder there may be a mistake, so it is a warning."""
    names = sorted(beside, key=lambda name: (not name.endswith("/"), name))
    if not names:
        return
    listed = ", ".join(f"{name} (in {beside[name]} {'track' if beside[name] == 1 else 'tracks'})"
                       for name in names[:NAMED])
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    level = logging.WARNING if names[0].endswith("/") else logging.INFO
    logger.log(level, "Tracks in %s hold more than their stems, which is not looked at: %s%s", root, listed, more)
