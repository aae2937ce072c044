"""What a folder of tracks holds: names, lengths, rates, and the level of every mixture.

A track is a folder with one file per source; a dataset is a folder of those, nested as you like. A folder that holds a
stem is a track, whatever else lies in it: folders in it are named in the log and not looked at. Scanning reads the
headers of all files and the samples of all mixtures, on all cores. The result is cached in a folder of its own, never
in the dataset, and each track's entry holds as long as its files keep their sizes and modification times, so a changed
dataset is scanned anew by itself, and only where it changed.

A track without mixture file has the sum of its sources as mixture, computed when needed and never written.
"""

import collections
import hashlib
import json
import logging
import math
import os
import time
import typing as tp
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from .. import schema
from ..audio import reading
from ..dsp.convert import convert_channels
from ..errors import AudioError, DatasetError, ToolError, describe_os_error
from .faults import NAMED, FaultyTracks, broken_link, unreadable

logger = logging.getLogger(__name__)

MIXTURE = "mixture"
SUFFIXES = (".wav", ".flac", ".mp3")     # of files that may be meant as stems
CACHE_VERSION = 1
CHUNK = 1 << 19          # samples read at once while measuring a mixture
# Below one step of 24-bit audio a mixture is silent (or constant) for every purpose: its deviation is taken as 1, so
# that normalising leaves it silent; published Demucs divides by zero there.
SILENT_STD = 1e-7


@dataclass(frozen=True)
class TrackMeta:
    """One track. `mean` and `std` (unbiased, over samples) are those of the mono mixture; 0 and 1 if not measured."""
    length: int              # samples, the same in every file
    samplerate: int          # Hz
    mean: float
    std: float
    has_mixture: bool        # False: the mixture is the sum of the sources

    @property
    def seconds(self) -> float:
        return self.length / self.samplerate


@dataclass(frozen=True)
class TrackIndex:
    """The tracks of a dataset by name (path relative to `root`), in sorted order."""
    root: Path
    sources: tp.Tuple[str, ...]
    tracks: tp.Dict[str, TrackMeta]
    ext: str = ".wav"

    def __len__(self) -> int:
        return len(self.tracks)

    def select(self, keep: tp.Callable[[str], bool]) -> "TrackIndex":
        """The tracks whose name `keep` accepts."""
        tracks = {name: meta for name, meta in self.tracks.items() if keep(name)}
        return TrackIndex(self.root, self.sources, tracks, self.ext)

    def file(self, name: str, source: str) -> Path:
        return self.root / name / f"{source}{self.ext}"

    def read(self, name: str, source: str, start: int = 0, frames: tp.Optional[int] = None) -> torch.Tensor:
        """Samples [A, L] of `source` (or "mixture") of the track `name`. Raises AudioError as `audio.read` does."""
        if source == MIXTURE and not self.tracks[name].has_mixture:
            return _sum(self.root / name, self.sources, self.ext, start, frames)
        return reading.read(self.file(name, source), start, frames)[0]


def _sum(folder: Path, sources: tp.Sequence[str], ext: str, start: int, frames: tp.Optional[int]) -> torch.Tensor:
    wavs = [reading.read(folder / f"{source}{ext}", start, frames)[0] for source in sources]
    channels = max(len(wav) for wav in wavs)
    return torch.stack([convert_channels(wav, channels) for wav in wavs]).sum(dim=0)


@dataclass
class _Folders:
    """What lies below the root of a dataset: `tracks`, folders that are none because of `faults`, and how many tracks
    hold what `beside` their stems, by name (that of a folder ends with a slash)."""
    tracks: tp.List[Path] = field(default_factory=list)
    faults: tp.List[str] = field(default_factory=list)
    beside: tp.Counter[str] = field(default_factory=collections.Counter)


def _look(root: Path, sources: tp.Sequence[str]) -> _Folders:
    """The tracks below `root`, sorted: folders that hold a stem, and folders without folders of their own. Hidden ones are
    not looked at, links are followed."""
    found = _Folders()
    stems = {name.lower() for name in (*sources, MIXTURE)}

    def walk(folder: Path, ancestors: tp.FrozenSet[str]) -> None:
        real = os.path.realpath(folder)
        if real in ancestors:
            found.faults.append(f"{folder}: a link to a folder that contains it; remove the link")
            return
        try:
            entries = sorted((entry for entry in os.scandir(folder) if not entry.name.startswith(".")),
                             key=lambda entry: entry.path)
        except OSError as error:
            found.faults.append(unreadable(folder, error))
            return
        if folder != root and any(_may_be_stem(entry.name, stems) for entry in entries):
            found.tracks.append(folder)
            found.beside.update(entry.name + "/" * os.path.isdir(entry.path) for entry in entries
                                if not _may_be_stem(entry.name, stems))
            return
        found.faults += filter(None, (broken_link(entry.path) for entry in entries))
        inner = [entry.path for entry in entries if os.path.isdir(entry.path)]
        if not inner and folder != root:
            found.tracks.append(folder)
        for path in inner:
            walk(Path(path), ancestors | {real})

    walk(root, frozenset())
    return found


def _may_be_stem(name: str, stems: tp.Container[str]) -> bool:
    """Whether a file is called like a stem, also in other letters or in a format that training does not read."""
    stem, suffix = os.path.splitext(name.lower())
    return stem in stems and suffix in SUFFIXES


def _name_what_else(root: Path, beside: tp.Counter[str]) -> None:
    """One line in the log about what track folders hold besides the stems; a folder there may be a mistake."""
    names = sorted(beside, key=lambda name: (not name.endswith("/"), name))
    if not names:
        return
    told = ", ".join(f"{name} (in {beside[name]} {'track' if beside[name] == 1 else 'tracks'})" for name in names[:NAMED])
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    level = logging.WARNING if names[0].endswith("/") else logging.INFO
    logger.log(level, "Tracks in %s hold more than their stems, which is not looked at: %s%s", root, told, more)


def _stamp(folder: Path, sources: tp.Sequence[str], ext: str) -> tp.Dict[str, tp.List[int]]:
    """Size and modification time (ns) of each file of a track. Raises DatasetError where one is missing or a link to
    nothing."""
    stamps, missing = {}, []
    for name in (*sources, MIXTURE):
        path = folder / f"{name}{ext}"
        try:
            status = path.stat()
        except FileNotFoundError:
            broken = broken_link(path)
            if broken:
                raise DatasetError(f"track {folder.name}: {broken}")
            if name != MIXTURE:
                missing.append(str(path))
            continue
        except OSError as error:
            raise DatasetError(f"track {folder.name}: {unreadable(path, error)}") from error
        stamps[name] = [status.st_size, status.st_mtime_ns]
    if missing:
        raise DatasetError(f"track {folder.name}: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing; "
                           f"every track folder needs {', '.join(source + ext for source in sources)} (and may have "
                           f"{MIXTURE}{ext})")
    return stamps


def _level(read: tp.Callable[[int, int], torch.Tensor], length: int, path: Path) -> tp.Tuple[float, float]:
    """Mean and unbiased standard deviation of the channel mean of `length` samples, in float64, chunk by chunk.

    In numpy, which stays on its thread: torch would start a team of threads under every thread of the scan.
    """
    count, mean, squares = 0, 0., 0.
    for start in range(0, length, CHUNK):
        wav = read(start, CHUNK).numpy().mean(axis=0).astype(np.float64)
        if not len(wav):   # mp3: the length was an estimate
            break
        here, total = float(wav.mean()), count + len(wav)
        delta = here - mean
        squares += float(np.square(wav - here).sum()) + delta ** 2 * count * len(wav) / total
        mean += delta * len(wav) / total
        count = total
    if not math.isfinite(mean) or not math.isfinite(squares):
        raise DatasetError(f"{path}: has samples that are not finite numbers (NaN or infinity); render the file again")
    std = math.sqrt(squares / max(count - 1, 1))
    return mean, std if std >= SILENT_STD else 1.


def _measure(folder: Path, sources: tp.Sequence[str], normalize: bool, ext: str) -> TrackMeta:
    """Raises DatasetError naming the file that is unreadable, truncated, empty, or differs from the track's first."""
    has_mixture = (folder / f"{MIXTURE}{ext}").exists()
    first = None
    for source in (*sources, *([MIXTURE] if has_mixture else [])):
        path = folder / f"{source}{ext}"
        try:
            info = reading.probe(path)
        except AudioError as error:
            raise DatasetError(f"track {folder.name}: {error}") from error
        except ToolError as error:       # a damaged file may look like one for ffmpeg
            raise DatasetError(f"track {folder.name}: {path}: {error}") from error
        except OSError as error:
            raise DatasetError(f"track {folder.name}: {unreadable(path, error)}") from error
        first = first or info
        if info.samplerate != first.samplerate:
            raise DatasetError(f"track {folder.name}: {path} has {info.samplerate} Hz, {sources[0]}{ext} has "
                               f"{first.samplerate} Hz; all files of a track must have the same rate")
        if info.frames != first.frames:
            raise DatasetError(f"track {folder.name}: {path} has {info.frames} samples, {sources[0]}{ext} has "
                               f"{first.frames}; all files of a track must have the same length")
    assert first is not None
    mean, std = 0., 1.
    if normalize:
        mixture = folder / f"{MIXTURE}{ext}"

        def read(start: int, frames: int) -> torch.Tensor:
            return reading.read(mixture, start, frames)[0] if has_mixture else _sum(folder, sources, ext, start, frames)

        try:
            mean, std = _level(read, first.frames, mixture if has_mixture else folder)
        except AudioError as error:
            raise DatasetError(f"track {folder.name}: {error}") from error
    return TrackMeta(first.frames, first.samplerate, mean, std, has_mixture)


def cache_file(root: tp.Union[str, Path], *, sources: tp.Sequence[str], normalize: bool, cache_dir: tp.Union[str, Path],
               ext: str = ".wav") -> Path:
    """Where the metadata of this dataset, seen in this way, is cached."""
    key = json.dumps([os.path.realpath(root), list(sources), bool(normalize), ext])
    return Path(cache_dir) / f"tracks-{hashlib.sha256(os.fsencode(key)).hexdigest()[:16]}.json"


def _load_cache(path: Path) -> tp.Dict[str, tp.Any]:
    try:
        if not path.exists():
            return {}
        plain = schema.read_json(path)
        if plain["version"] == CACHE_VERSION:
            fields = {"files", "length", "samplerate", "mean", "std"}
            return {name: entry for name, entry in plain["tracks"].items() if fields <= entry.keys()}
    except (schema.SchemaError, OSError, KeyError, TypeError, AttributeError):
        logger.warning("%s cannot be read: the dataset is scanned again", path)
    return {}


def save_cache(plain: tp.Mapping[str, tp.Any], path: Path) -> None:
    """A cache saves time only: where it cannot be written, the next start scans again."""
    try:
        schema.write_json(plain, path)
    except OSError as error:
        logger.warning("The cache of the dataset cannot be written (%s): every start scans it again; make %s writable, or "
                       "choose another folder with dset.metadata", describe_os_error(error), path.parent)


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def scan(root: tp.Union[str, Path], *, sources: tp.Sequence[str], normalize: bool = True,
         cache_dir: tp.Union[str, Path], ext: str = ".wav", workers: tp.Optional[int] = None) -> TrackIndex:
    """The index of the dataset in `root`, from the cache as far as its files have not changed.

    `sources`: names of the files (without `ext`) every track must have; `normalize`: measure the mixtures' level;
    `workers`: threads, one per usable core by default. Several processes may scan at once: the cache file is replaced
    as a whole. With several ranks let one scan first, the others then find the cache.
    Raises:
        DatasetError: where the folder is missing or empty.
        FaultyTracks: where tracks are incomplete, inconsistent or unreadable; it names all of them.
    """
    given, root = root, Path(root).absolute()
    if not os.path.isdir(root):
        raise DatasetError(f"dataset folder {given} does not exist (looked at {root}); check dset.musdb or dset.wav, "
                           f"or the environment variable DEMUCS_MUSDB")
    found = _look(root, sources)
    if not found.tracks and not found.faults:
        raise DatasetError(f"dataset folder {root} has no track folders in it; expected TRACK/{sources[0]}{ext}, ...")
    _name_what_else(root, found.beside)
    stamps, faults = {}, found.faults
    for folder in found.tracks:
        try:
            stamps[str(folder.relative_to(root))] = _stamp(folder, sources, ext)
        except DatasetError as error:
            faults.append(str(error))
    path = cache_file(root, sources=sources, normalize=normalize, cache_dir=cache_dir, ext=ext)
    cached = _load_cache(path)
    entries = {name: cached[name] for name, stamp in stamps.items() if cached.get(name, {}).get("files") == stamp}
    missing = [name for name in stamps if name not in entries]
    if missing:
        measured, failed = _scan_tracks(root, missing, stamps, sources, normalize, ext, workers or _usable_cores())
        entries.update(measured)
        faults += failed
    if missing or len(cached) != len(entries):
        save_cache({"version": CACHE_VERSION, "root": str(root), "sources": list(sources), "normalize": normalize,
                     "tracks": entries}, path)
    if faults:
        raise FaultyTracks(faults)
    tracks = {name: TrackMeta(entry["length"], entry["samplerate"], entry["mean"], entry["std"],
                              MIXTURE in entry["files"]) for name, entry in sorted(entries.items())}
    return TrackIndex(root, tuple(sources), tracks, ext)


def _scan_tracks(root: Path, names: tp.List[str], stamps: tp.Dict[str, tp.Any], sources: tp.Sequence[str],
                 normalize: bool, ext: str, workers: int) -> tp.Tuple[tp.Dict[str, tp.Any], tp.List[str]]:
    """Measure tracks in threads (libsndfile and numpy work outside Python's lock), with progress in the log. Returns what
    is cached of them, and the faults of those that cannot be used."""
    logger.info("Scanning %d tracks in %s", len(names), root)
    begin, entries, faults = time.monotonic(), {}, {}
    with ThreadPoolExecutor(workers) as pool:
        pending = {pool.submit(_measure, root / name, sources, normalize, ext): name for name in names}
        try:
            for done, future in enumerate(as_completed(pending), start=1):
                name = pending[future]
                try:
                    meta = future.result()
                    entries[name] = {"files": stamps[name], "length": meta.length, "samplerate": meta.samplerate,
                                     "mean": meta.mean, "std": meta.std}
                except DatasetError as error:
                    faults[name] = str(error)
                if done * 10 // len(names) > (done - 1) * 10 // len(names):
                    elapsed = time.monotonic() - begin
                    logger.info("Scanned %d/%d tracks, %.1f s, %.1f tracks/s", done, len(names), elapsed,
                                done / max(elapsed, 1e-9))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return entries, [faults[name] for name in sorted(faults)]
