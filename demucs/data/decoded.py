"""Decoded copies of compressed MUSDB18, in the layout of MUSDB18-HQ.

ROOT/SPLIT/TRACK.stem.mp4 is decoded once to CACHE/stems/ID/SPLIT/TRACK/{mixture,drums,bass,other,vocals}.flac, where ID
is a hash of the path of the root. Nothing is lost: the files are 16-bit, and their samples are those that the musdb
package decodes. They take up to three times the space of the stem files, and are read without ffmpeg.
"""

import concurrent.futures
import contextlib
import hashlib
import logging
import os
import shutil
import typing as tp
from pathlib import Path

from ..audio import stems
from ..audio.ffmpeg import program
from ..downloads.locks import open_locked
from ..downloads.meter import size
from ..errors import AudioError, DatasetError, describe_os_error
from ..files import free_bytes
from ..schema import SchemaError, read_json, write_json
from .faults import FaultyTracks

logger = logging.getLogger(__name__)

SPLITS = ("train", "test")
FOLDER = "stems"              # in the cache
ORIGIN = ".origin.json"       # in the folder of a track: size and time of its stem file
RATIO = 3                     # size of a decoded track, relative to its stem file


def stem_files(folder: tp.Union[str, Path]) -> tp.Dict[str, Path]:
    """Stem files TRACK.stem.mp4 in a folder by the names of the tracks, sorted; empty if there is no such folder.
    Hidden files are ignored."""
    try:
        paths = sorted(path for path in Path(folder).iterdir()
                       if path.name.endswith(stems.SUFFIX) and not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be read ({error.strerror}); make it readable") from error
    return {path.name.removesuffix(stems.SUFFIX): path for path in paths}


def is_compressed(root: tp.Union[str, Path, None]) -> bool:
    """Whether `root` holds compressed MUSDB18: stem files in train/ or test/."""
    return bool(root) and any(stem_files(Path(str(root)) / split) for split in SPLITS)


def folder_of(root: tp.Union[str, Path], cache_dir: tp.Union[str, Path]) -> Path:
    """Folder of the decoded copies of `root`, which need not exist."""
    identity = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:16]
    return Path(cache_dir) / FOLDER / identity


def decode(root: tp.Union[str, Path], cache_dir: tp.Union[str, Path], split: str = "train", *,
           processes: tp.Optional[int] = None) -> Path:
    """Decode the tracks of a split that are not in the cache yet, or have changed since, and remove those that are
    gone. Returns `folder_of` the root.

    Args:
        processes: number of files decoded at the same time; by default one per core.

    Raises:
        FaultyTracks: naming all stem files that cannot be decoded. The others are in the cache.
        DatasetError: if the cache has too little space, or cannot be written.
        ToolError: if ffmpeg is not installed.
    """
    found = stem_files(Path(root) / split)
    target = folder_of(root, cache_dir)
    program("ffmpeg")
    try:
        target.mkdir(parents=True, exist_ok=True)
        lock = open_locked(target / "lock", f"{root}", "decoding")
        with lock or contextlib.nullcontext():
            _decode(found, target / split, processes or len(os.sched_getaffinity(0)))
    except OSError as error:
        raise DatasetError(f"{root}: cannot be decoded into {target}: {describe_os_error(error)}; make it writable, "
                           f"free some space there, or choose another folder by dset.metadata") from error
    return target


def _decode(found: tp.Mapping[str, Path], folder: Path, processes: int) -> None:
    folder.mkdir(exist_ok=True)
    origins = {name: _origin(path) for name, path in found.items()}
    for path in folder.iterdir():      # of removed or changed files, or left by an interrupted process
        if path.name not in origins or _known(path) != origins[path.name]:
            shutil.rmtree(path)
    missing = [name for name in found if not (folder / name).exists()]
    if not missing:
        return
    needed, free = RATIO * sum(origins[name]["size"] for name in missing), free_bytes(folder)
    if free < needed:
        raise DatasetError(f"{folder}: has {size(free)} of free space, and the decoded copies of {len(missing)} stem "
                           f"files take about {size(needed)}; free some space there, or choose another folder by dset.metadata")
    logger.info("Decoding %d stem files into %s, once", len(missing), folder)
    faults = []
    with concurrent.futures.ThreadPoolExecutor(min(processes, len(missing))) as pool:      # each waits for ffmpeg
        works = {pool.submit(_decode_one, found[name], folder / name, origins[name]): name for name in missing}
        try:
            for number, work in enumerate(concurrent.futures.as_completed(works), start=1):
                name = works[work]
                try:
                    work.result()
                    logger.info("decoded %d/%d: %s/%s", number, len(missing), folder.name, name)
                except AudioError as error:
                    faults.append(f"track {name}: {error}")
        finally:
            pool.shutdown(cancel_futures=True)
    if faults:
        raise FaultyTracks(sorted(faults))


def _decode_one(path: Path, folder: Path, origin: tp.Mapping[str, int]) -> None:
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    stems.decode(path, partial)
    write_json(origin, partial / ORIGIN)
    partial.rename(folder)


def _origin(path: Path) -> tp.Dict[str, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); remove it, or copy it again") from error
    return {"size": found.st_size, "modified": found.st_mtime_ns}


def _known(folder: Path) -> tp.Any:
    try:
        return read_json(folder / ORIGIN)
    except SchemaError:
        return None
