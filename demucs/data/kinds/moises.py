"""MoisesDB: ROOT/SONG/data.json names the stems of a song, and ROOT/SONG/STEM/ID.wav are the recordings that add up to a
stem.

The recordings of a song may differ in length; the shorter ones end in silence. The mixture is the sum of the sources, or
of all stems if there is a single source. Layout: https://github.com/moises-ai/moises-db
"""

import os
import typing as tp
from pathlib import Path

from ... import schema
from ...errors import DatasetError
from ..faults import unreadable
from ..tracks import Files, Track, Tracks
from .folders import dataset_folder, unique
from .settings import KindSettings, in_splits

DESCRIPTION = "data.json"
DEPTH = 3           # the archive has folders moisesdb/moisesdb_v0.1 above the songs


@in_splits
def tracks(settings: KindSettings, folder: Path) -> Tracks:
    root = dataset_folder(folder)
    mapping = settings.mapping("moises")
    found, faults = [], []
    for song in _songs(root, DEPTH):
        try:
            name, stems = _stems(song)
            found.append(from_instruments(song, name, stems, mapping, settings.missing))
        except DatasetError as error:
            faults.append(str(error))
    if not found and not faults:
        raise DatasetError(f"dataset folder {root} has no songs of MoisesDB in it; expected SONG/{DESCRIPTION} and "
                           f"SONG/STEM/ID.wav")
    return Tracks(root, unique(found), faults)


def _songs(folder: Path, depth: int) -> tp.List[Path]:
    """Folders with a description below `folder`, sorted. Raises DatasetError if one cannot be listed."""
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise DatasetError(unreadable(folder, error)) from error
    found = []
    for path in paths:
        if path.name.startswith(".") or not path.is_dir():
            continue
        if (path / DESCRIPTION).exists():
            found.append(path)
        elif depth > 1:
            found += _songs(path, depth - 1)
    return found


def _stems(song: Path) -> tp.Tuple[str, tp.Dict[str, Files]]:
    """(name of a song, files of its stems). Raises DatasetError if its description is damaged or names a file that is
    missing."""
    path = song / DESCRIPTION
    try:
        plain = schema.read_json(path)
        title = " - ".join(str(plain[key]) for key in ("artist", "song"))
        entries = [(str(stem["stemName"]), f"{track['id']}.{track['extension']}") for stem in plain["stems"]
                   for track in stem["tracks"]]
    except OSError as error:
        raise DatasetError(f"track {song.name}: {unreadable(path, error)}") from error
    except (schema.SchemaError, KeyError, TypeError) as error:
        raise DatasetError(f"track {song.name}: {path} is no description of a song of MoisesDB ({error!r}); download it "
                           f"again") from error
    stems: tp.Dict[str, Files] = {}
    missing = []
    for stem, file in entries:
        if any(not part or part.startswith(".") or os.sep in part or "/" in part or "\0" in part for part in (stem, file)):
            raise DatasetError(f"track {song.name}: {path} names a file outside of its folder: {stem}/{file}; download it "
                               f"again")
        if not (song / stem / file).is_file():
            missing.append(f"{stem}/{file}")
        stems[stem] = (*stems.get(stem, ()), song / stem / file)
    if missing:
        raise DatasetError(f"track {song.name}: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing from {song}, "
                           f"and {DESCRIPTION} names them; download the song again")
    return title, stems


def from_instruments(folder: Path, name: str, stems: tp.Mapping[str, Files], mapping: tp.Any, missing: str,
                     mixture: Files = ()) -> Track:
    """Song from the files of its instruments. A single source does not add up to a song, so that all instruments are
    then stems.

    Raises:
        DatasetError: if a source has no file, and `missing` is not "silence".
    """
    found = mapping.assign(stems)
    absent = [source for source, files in found.items() if not files]
    if absent and (missing != "silence" or 1 < len(absent) == len(found)):
        raise DatasetError(f"track {folder.name}: {folder} has no instrument of {', '.join(absent)} (it has {', '.join(stems)}); "
                           f"set dset.missing=silence to train on silence there, or remove the song")
    sources = {source: tuple(sorted(files)) for source, files in found.items()}
    mixed = tuple(source for source, files in sources.items() if files)
    if len(sources) == 1 and not mixture:
        only = next(iter(sources))
        rest = {f"{instrument} (instrument)": files for instrument, files in stems.items()
                if files and files[0] not in sources[only]}
        sources.update(rest)
        mixed = (only, *rest) if sources[only] else tuple(rest)
    return Track(name, sources, mixture, mixed, folder, ragged=True)
