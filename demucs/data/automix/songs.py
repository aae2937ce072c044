"""Songs to remix: those of MUSDB18-HQ and of custom datasets, by split."""

import hashlib
import json
import os
import typing as tp
from dataclasses import dataclass
from pathlib import Path

from ...errors import DatasetError
from .. import kinds
from ..faults import FaultyTracks, unreadable
from ..tracks import MIXTURE, Track, part_path

SPLITS = ("train", "valid")


@dataclass(frozen=True)
class Song:
    """A song of the split `split`, from the dataset number `dataset`. `title` is unique among all songs."""
    dataset: int
    split: str
    track: Track
    title: str


def find(musdb: tp.Union[str, Path, None], wavs: tp.Sequence[tp.Union[str, Path]], sources: tp.Sequence[str], *,
         with_test: bool = False) -> tp.List[Song]:
    """Songs of MUSDB18-HQ in `musdb` and of the datasets `wavs`, which have train/ and may have valid/.

    With `with_test`, the test songs of MUSDB18-HQ are among the training songs. Songs of different splits are never
    mixed, so the validation songs stay unknown in training.

    Raises:
        DatasetError: if a folder is missing or a split is empty.
        FaultyTracks: if songs are incomplete.
    """
    found: tp.List[tp.Tuple[int, str, Track]] = []
    faults: tp.List[str] = []
    datasets = [("musdb", Path(musdb))] if musdb else []
    datasets += [("wav", Path(path)) for path in wavs]
    for number, (kind, root) in enumerate(datasets):
        settings = kinds.KindSettings(root, tuple(sources))
        for split in (*SPLITS, "test"):
            if split == "test" and not (with_test and kind == "musdb"):
                continue
            if kind == "wav" and split == "valid" and not os.path.isdir(root / split):
                continue
            listed = kinds.tracks(kind, settings, split)
            faults += listed.faults
            found += [(number, "train" if split == "test" else split, track) for track in listed.tracks]
    if faults:
        raise FaultyTracks(dict.fromkeys(faults))
    for split in SPLITS:
        if not any(split == where for _, where, _ in found):
            raise DatasetError(f"{', '.join(str(root) for _, root in datasets)}: no songs of the split {split!r}; a "
                               f"dataset for training needs both, so that some songs remain unknown")
    taken: tp.Set[str] = set()
    songs = []
    for number, split, track in sorted(found, key=lambda item: (SPLITS.index(item[1]), item[0], item[2].name)):
        title, copy = Path(track.name).name, 1
        while title.lower() in taken:
            copy += 1
            title = f"{Path(track.name).name} ({copy})"
        taken.add(title.lower())
        songs.append(Song(number, split, track, title))
    return songs


def stamp(song: Song, *, times: bool) -> tp.List[str]:
    """Size of each file of a song, with `times` also its time of modification: texts that change with the song."""
    stamps = []
    for source in (*song.track.stems, MIXTURE):
        for part in song.track.files(source):
            path = part_path(part)
            try:
                status = path.stat()
            except OSError as error:
                raise DatasetError(f"track {song.track.folder.name}: {unreadable(path, error)}") from error
            stamps.append(f"{source} {path.name} {status.st_size}" + (f" {status.st_mtime_ns}" if times else ""))
    return stamps


def digest(songs: tp.Iterable[Song]) -> str:
    """Hash of the names of all songs and of the sizes of their files, wherever the datasets are."""
    plain = [[song.dataset, song.split, song.track.name, *stamp(song, times=False)] for song in songs]
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:16]
