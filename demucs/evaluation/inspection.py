"""Check of all test songs before a training, which would otherwise fail at one of them after many epochs.

Every file is read once, to its end. Files that were read before are recognised by size and modification time, so a run
that is restarted reads nothing.
"""

import hashlib
import json
import logging
import os
import typing as tp
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .. import schema
from ..data.faults import FaultyTracks, unreadable
from ..data.index import save_cache
from ..errors import AudioError, DatasetError, ToolError
from .tracks import ReferenceTrack

logger = logging.getLogger(__name__)

WORKERS = 4     # each holds one file in memory

Stamps = tp.List[tp.List[int]]


def inspect(tracks: tp.Sequence[ReferenceTrack], *, sources: tp.Sequence[str], cache_dir: tp.Union[str, Path]) -> None:
    """Check that all files of `tracks` can be read to their end and fit together. Songs that passed earlier, and whose
    files have the same sizes and modification times, are not read again. `sources`, the names of their references, only
    distinguish the lists of such songs.

    Args:
        cache_dir: folder for the list of songs that passed.

    Raises:
        FaultyTracks: if songs cannot be read or their files do not fit together; the message names all of them.
    """
    key = json.dumps([list(sources), *([track.name, *map(str, track.files)] for track in tracks)])
    path = Path(cache_dir) / f"tests-{hashlib.sha256(os.fsencode(key)).hexdigest()[:16]}.json"
    before = _read_before(path)
    stamps = {track.name: _stamps(track) for track in tracks}
    new = [track for track in tracks if stamps[track.name] is None or before.get(track.name) != stamps[track.name]]
    if not new:
        return
    logger.info("Reading %d test songs once, to know before training that they can be read", len(new))
    with ThreadPoolExecutor(WORKERS) as pool:
        found = dict(zip((track.name for track in new), pool.map(_fault, new)))
    save_cache({name: stamp for name, stamp in stamps.items() if found.get(name) is None}, path)
    faults = [fault for fault in found.values() if fault is not None]
    if faults:
        raise FaultyTracks(faults)


def _read_before(path: Path) -> tp.Dict[str, Stamps]:
    try:
        found = schema.read_json(path)
    except (schema.SchemaError, OSError):
        return {}
    return found if isinstance(found, dict) else {}


def _stamps(track: ReferenceTrack) -> tp.Optional[Stamps]:
    """Size in bytes and modification time in ns of each file; None if one cannot be accessed."""
    try:
        return [[status.st_size, status.st_mtime_ns] for status in (path.stat() for path in track.files)]
    except OSError:
        return None


def _fault(track: ReferenceTrack) -> tp.Optional[str]:
    try:
        if track.check is not None:
            track.check()
        else:
            track.read()
    except OSError as error:
        return unreadable(error.filename or track.name, error)
    except (AudioError, DatasetError, ToolError) as error:
        return f"test song {track.name}: {error}"
    return None
