"""Songs with known sources, to score separations on: folders of wav files, or the stem files of MUSDB18.

A track knows its name and how to read itself, so a list of them costs nothing, and any kind of dataset can make one.
"""

import functools
import typing as tp
from dataclasses import dataclass
from pathlib import Path

import torch

from ..data import audio
from ..data.synthetic import MANIFEST
from ..errors import AudioError, DatasetError
from ..schema import SchemaError, read_json

MUSDB_TEST_TRACKS = 50
MUSDB_TEST_TRACK = "Al James - Schoolboy Facination"      # [sic]


class Song(tp.NamedTuple):
    """`mix` [A, L], `references` [S, A, L] float32 at `samplerate` Hz."""
    mix: torch.Tensor
    references: torch.Tensor
    samplerate: int


@dataclass(frozen=True)
class Track:
    """`read()` raises AudioError or DatasetError naming the file at fault."""
    name: str
    read: tp.Callable[[], Song]


def track_folders(root: tp.Union[str, Path], *, sources: tp.Sequence[str], split: str = "test") -> tp.List[Track]:
    """The tracks ROOT/SPLIT/TRACK/{mixture,SOURCE...}.wav (MUSDB18-HQ), sorted by name.

    Raises:
        DatasetError: where there is no such folder, no track in it, or a track lacks a stem.
    """
    folder = Path(root) / split
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; set DEMUCS_MUSDB (or --musdb) to a folder that contains "
                           f"{split}/TRACK/mixture.wav")
    tracks = []
    for path in sorted(item for item in folder.iterdir() if item.is_dir() and not item.name.startswith(".")):
        for source in sources:
            if not (path / f"{source}.wav").exists():
                raise DatasetError(f"{path}: lacks the stem {source}.wav; complete the track or remove its folder")
        tracks.append(Track(path.name, functools.partial(_read_folder, path, tuple(sources))))
    if not tracks:
        raise DatasetError(f"{folder}: contains no track; it should hold a folder per song")
    return tracks


def _read_folder(folder: Path, sources: tp.Sequence[str]) -> Song:
    """Without a mixture file the mixture is the sum of the sources, as in training."""
    stems, rates = zip(*(audio.read(folder / f"{source}.wav") for source in sources))
    mixture = folder / "mixture.wav"
    mix, rate = audio.read(mixture) if mixture.exists() else (None, rates[0])
    shapes = {f"{source}.wav": tuple(stem.shape) for source, stem in zip(sources, stems)}
    if mix is not None:
        shapes["mixture.wav"] = tuple(mix.shape)
    if len(set(shapes.values())) > 1 or {rate, *rates} != {rate}:
        raise DatasetError(f"{folder}: files differ in channels, samples or rate: {shapes}, {sorted({rate, *rates})} "
                           f"Hz; render the track again")
    references = torch.stack(stems)
    return Song(references.sum(dim=0) if mix is None else mix, references, rate)


def musdb_stem_tracks(root: tp.Union[str, Path], *, sources: tp.Sequence[str], split: str = "test") -> tp.List[Track]:
    """The tracks of compressed MUSDB18 (ROOT/SPLIT/TRACK.stem.mp4), read through the musdb package, which needs ffmpeg.

    Raises:
        DatasetError: where there is none, or a source that MUSDB18 does not have.
    """
    root = Path(root)
    if not (root / split).is_dir() or not any((root / split).glob("*.stem.mp4")):
        raise DatasetError(f"{root / split}: contains no .stem.mp4 file; give the folder of MUSDB18 (not HQ)")
    import musdb   # takes a second, and only this kind of dataset needs it

    tracks = musdb.DB(str(root), subsets=[split], is_wav=False).tracks
    for track in tracks[:1]:
        unknown = [source for source in sources if source not in track.targets]
        if unknown:
            raise DatasetError(f"{root}: MUSDB18 has no source {', '.join(unknown)}; it has {', '.join(track.targets)}")
    return [Track(track.name, functools.partial(_read_musdb, track, tuple(sources)))
            for track in sorted(tracks, key=lambda track: track.name)]


def _read_musdb(track: tp.Any, sources: tp.Sequence[str]) -> Song:
    def tensor(samples: tp.Any) -> torch.Tensor:
        return torch.from_numpy(samples).t().float()

    try:
        return Song(tensor(track.audio), torch.stack([tensor(track.targets[name].audio) for name in sources]),
                    int(track.rate))
    except (RuntimeError, ValueError, OSError) as error:
        raise AudioError(f"{track.path}: cannot be read ({error}); download it again") from error


def dataset_name(root: tp.Union[str, Path], split: str = "test") -> str:
    """What to call the tracks of ROOT/SPLIT in a record: "MUSDB18-HQ test" only for what looks like all of it."""
    root = Path(root)
    if (root / MANIFEST).exists():
        try:
            recipe = read_json(root / MANIFEST)
            return f"synthetic (seed {recipe['seed']}, {recipe['seconds']:g} s) {split}"
        except (SchemaError, KeyError, TypeError) as error:
            raise DatasetError(f"{root / MANIFEST}: not the recipe of a synthetic dataset; generate it anew") from error
    folder = root / split
    names = [item.name for item in folder.iterdir() if item.is_dir()] if folder.is_dir() else []
    if split == "test" and len(names) == MUSDB_TEST_TRACKS and MUSDB_TEST_TRACK in names:
        return f"MUSDB18-HQ {split}"
    return f"{root.resolve().name} {split}"
