"""Index of a dataset: lengths and sample rates of its songs, and mean and standard deviation of every mixture.

Scanning reads the headers of all files and the samples of all mixtures, on all cores. The result is cached in a
separate folder, never in the dataset. The entry of a track is valid as long as its files keep their sizes and
modification times, so only tracks that have changed are scanned again.
"""

import contextlib
import dataclasses
import gc
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
from ..dsp import arrays
from ..errors import AudioError, DatasetError, ToolError, describe_os_error
from .faults import FaultyTracks, unreadable
from .tracks import MIXTURE, Files, Part, Track, Tracks, lengthened, part_path, probe_part, read_int16

logger = logging.getLogger(__name__)

CACHE_VERSION = 2
# A mixture whose standard deviation is below one step of 24-bit audio counts as silent (or constant). Its standard
# deviation is set to 1, so that normalisation leaves it silent; published Demucs divides by zero there.
SILENT_STD = 1e-7

Stamp = tp.Dict[str, tp.List[tp.List[int]]]


@dataclass(frozen=True)
class TrackMeta:
    """Length, sample rate and level of a track. `mean` and `std` (unbiased, over samples) are those of the mono
    mixture; 0 and 1 if not measured, and a `std` of 1 for a silent mixture."""
    length: int              # samples, of the longest file
    samplerate: int          # Hz
    mean: float
    std: float
    has_mixture: bool        # False if the mixture is the sum of stems

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.length / self.samplerate


@dataclass(frozen=True)
class TrackIndex:
    """Tracks of a dataset by name, in sorted order: their metadata and their files."""
    tracks: tp.Dict[str, TrackMeta]
    files: tp.Dict[str, Track] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tracks)

    def select(self, keep: tp.Callable[[str], bool]) -> "TrackIndex":
        """Index of the tracks for whose name `keep` returns True."""
        tracks = {name: meta for name, meta in self.tracks.items() if keep(name)}
        return TrackIndex(tracks, {name: self.files[name] for name in tracks if name in self.files})

    def read(self, name: str, source: str, start: int = 0, frames: tp.Optional[int] = None) -> torch.Tensor:
        """Samples [A, L] of the stem `source` (or "mixture") of track `name`, at the rate of the file: at most `frames`
        from sample `start` on (None: to the end). Raises AudioError as `audio.reading.read`."""
        track = self.files[name]
        wav = track.read(source, start, frames)
        if track.ragged or not track.files(source) and source != MIXTURE:
            left = max(self.tracks[name].length - start, 0)
            wav = lengthened(wav, left if frames is None else min(frames, left))
        return wav

    def read_int16(self, name: str, source: str, start: int = 0, frames: tp.Optional[int] = None
                   ) -> tp.Optional[np.ndarray]:
        """Samples [L, A] of a stem in 16-bit integers; None if it is no single file of such samples."""
        track = self.files[name]
        files = track.files(source)
        return read_int16(files[0], start, frames) if len(files) == 1 and not track.ragged else None


def _stamp(track: Track) -> Stamp:
    """Size and modification time (ns) of each file of a track. Raises DatasetError if one is inaccessible."""
    stamps: Stamp = {}
    for source in (*track.stems, MIXTURE):
        for path in map(part_path, track.files(source)):
            try:
                status = os.stat(path)
            except OSError as error:
                raise DatasetError(f"track {track.folder.name}: {unreadable(path, error)}") from error
            stamps.setdefault(source, []).append([status.st_size, status.st_mtime_ns])
    return stamps


def _level(track: Track, length: int) -> tp.Tuple[float, float]:
    """Mean and unbiased standard deviation of the mono mixture of a track.

    Computed in numpy, which is single-threaded here: torch would start a thread pool for every thread of the scan.
    """
    mean, std = arrays.level(lambda start, frames: track.read(MIXTURE, start, frames).numpy(), length)
    if not math.isfinite(mean) or not math.isfinite(std):
        path = part_path(track.mixture[0]) if track.mixture else track.folder
        raise DatasetError(f"{path}: has samples that are not finite numbers (NaN or infinity); render the file again")
    return mean, std if std >= SILENT_STD else 1.


@dataclass(frozen=True)
class _Begun:
    """A file of which header and first samples were read together, since opening a short file takes longer than reading
    it. `first` is what `reading.read` returns for the first `frames` samples, or its error."""
    path: Path
    info: reading.AudioInfo
    frames: int
    first: tp.Union[torch.Tensor, AudioError]

    def read(self, start: int, frames: tp.Optional[int]) -> tp.Tuple[torch.Tensor, int]:
        if start or frames != self.frames:
            return reading.read(self.path, start, frames)
        if isinstance(self.first, AudioError):
            raise self.first
        return self.first, self.info.samplerate

    def probe(self) -> reading.AudioInfo:
        return self.info


def _begun(part: Part) -> tp.Tuple[reading.AudioInfo, Part]:
    """(header of a file, the file with the samples that `_level` reads first). Raises the errors of `probe_part`."""
    if not isinstance(part, Path):
        return probe_part(part), part
    frames = arrays.CHUNK
    info, first = reading.probe_and_read(part, frames)
    return info, part if first is None else _Begun(part, info, frames, first)


def _measure(track: Track, normalize: bool) -> TrackMeta:
    """Metadata of a track. Raises DatasetError naming the file that is unreadable, truncated, empty, or differs from
    the first one in sample rate or length."""
    first, first_path = None, None
    name = track.folder.name
    heard = () if not normalize else (MIXTURE,) if track.mixture else track.mixed
    begun: tp.Dict[str, Files] = {source: () for source in (*track.stems, MIXTURE)}
    for source, part in ((source, part) for source in begun for part in track.files(source)):
        path = part_path(part)
        try:
            if source in heard:
                info, part = _begun(part)
            else:
                info = probe_part(part)
        except AudioError as error:
            raise DatasetError(f"track {name}: {error}") from error
        except ToolError as error:       # a damaged file may be taken for one that needs ffmpeg
            raise DatasetError(f"track {name}: {path}: {error}") from error
        except OSError as error:
            raise DatasetError(f"track {name}: {unreadable(path, error)}") from error
        begun[source] += (part,)
        first, first_path = first or info, first_path or path
        if info.samplerate != first.samplerate:
            raise DatasetError(f"track {name}: {path} has {info.samplerate} Hz, {first_path.name} has "
                               f"{first.samplerate} Hz; all files of a track must have the same rate")
        if track.ragged:
            first = first if first.frames >= info.frames else info
        elif info.frames != first.frames:
            raise DatasetError(f"track {name}: {path} has {info.frames} samples, {first_path.name} has "
                               f"{first.frames}; all files of a track must have the same length")
    assert first is not None
    mean, std = 0., 1.
    if normalize:
        mixture = begun.pop(MIXTURE)
        try:
            mean, std = _level(dataclasses.replace(track, stems=begun, mixture=mixture), first.frames)
        except AudioError as error:
            raise DatasetError(f"track {name}: {error}") from error
    return TrackMeta(first.frames, first.samplerate, mean, std, bool(track.mixture))


def cache_file(root: tp.Union[str, Path], *, sources: tp.Sequence[str], normalize: bool, cache_dir: tp.Union[str, Path]
               ) -> Path:
    """Path in `cache_dir` of the cache file for the dataset in `root`; different sources or normalisation give another
    file. It need not exist."""
    key = json.dumps([os.path.realpath(root), list(sources), bool(normalize)])
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
    """Write the plain values `plain` to the cache file `path` as JSON. If that fails, a warning is logged, and the next
    start scans again."""
    try:
        schema.write_json(plain, path, indent=None)
    except OSError as error:
        logger.warning("The cache of the dataset cannot be written (%s): every start scans it again; make %s writable, or "
                       "choose another folder with dset.metadata", describe_os_error(error), path.parent)


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def without_collection() -> tp.Iterator[None]:
    """Context in which Python does not look for reference cycles. Where the songs of a large dataset are listed, whose
    objects all stay, that takes a quarter of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def scan(found: Tracks, *, sources: tp.Sequence[str], normalize: bool = True, cache_dir: tp.Union[str, Path],
         workers: tp.Optional[int] = None) -> TrackIndex:
    """Index of the songs `found`, from the cache for those whose files have the same sizes and modification times as
    before. The cache is updated, also if songs are faulty.

    With `normalize`, mean and standard deviation of the mixtures are measured. `sources` are the names of the stems,
    which together with `normalize` determine the cache file in `cache_dir`. `workers` is the number of threads, by
    default one per usable core. Several processes may scan at once, since the cache file is replaced atomically. With
    several ranks, one should scan first, so that the others use its cache.

    Raises:
        FaultyTracks: if tracks are incomplete, inconsistent or unreadable; it names all of them.
    """
    root, faults = found.root, list(found.faults)
    tracks: tp.Dict[str, Track] = {}
    stamps: tp.Dict[str, Stamp] = {}
    path = cache_file(root, sources=sources, normalize=normalize, cache_dir=cache_dir)
    with without_collection():
        for track in found.tracks:
            try:
                stamps[track.name] = _stamp(track)
                tracks[track.name] = track
            except DatasetError as error:
                faults.append(str(error))
        cached = _load_cache(path)
    entries = {name: cached[name] for name, stamp in stamps.items() if cached.get(name, {}).get("files") == stamp}
    missing = [name for name in stamps if name not in entries]
    if missing:
        measured, failed = _scan_tracks(root, [tracks[name] for name in missing], stamps, normalize,
                                        workers or usable_cores())
        entries.update(measured)
        faults += failed
    if missing or len(cached) != len(entries):
        save_cache({"version": CACHE_VERSION, "root": str(root), "sources": list(sources), "normalize": normalize,
                     "tracks": entries}, path)
    if faults:
        raise FaultyTracks(faults)
    metas = {name: TrackMeta(entry["length"], entry["samplerate"], entry["mean"], entry["std"],
                             MIXTURE in entry["files"]) for name, entry in sorted(entries.items())}
    return TrackIndex(metas, {name: tracks[name] for name in metas})


def _scan_tracks(root: Path, tracks: tp.List[Track], stamps: tp.Dict[str, Stamp], normalize: bool, workers: int
                 ) -> tp.Tuple[tp.Dict[str, tp.Any], tp.List[str]]:
    """Measure tracks in threads (libsndfile and numpy release the GIL), with progress in the log. Returns the cache
    entries, and the faults of tracks that cannot be used."""
    logger.info("Scanning %d tracks in %s", len(tracks), root)
    begin, entries, faults = time.monotonic(), {}, {}
    with ThreadPoolExecutor(workers) as pool:
        pending = {pool.submit(_measure, track, normalize): track.name for track in tracks}
        try:
            for done, future in enumerate(as_completed(pending), start=1):
                name = pending[future]
                try:
                    meta = future.result()
                    entries[name] = {"files": stamps[name], "length": meta.length, "samplerate": meta.samplerate,
                                     "mean": meta.mean, "std": meta.std}
                except DatasetError as error:
                    faults[name] = str(error)
                if done * 10 // len(tracks) > (done - 1) * 10 // len(tracks):
                    elapsed = time.monotonic() - begin
                    logger.info("Scanned %d/%d tracks, %.1f s, %.1f tracks/s", done, len(tracks), elapsed,
                                done / max(elapsed, 1e-9))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return entries, [faults[name] for name in sorted(faults)]
