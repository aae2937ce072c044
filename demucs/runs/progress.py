"""How far the checkpoints of a run have come: `checkpoint.json`, written with each of them and read without torch.

A record belongs to a checkpoint by its `identity`, which follows from what that file holds: a copy has the same, and a
file that was cut short has none. The records are on disk before a new checkpoint takes its name, and those of the files
that it may replace stay. So the newest file has its record wherever a node dies between the two writes.
"""

import hashlib
import typing as tp
import zipfile
from pathlib import Path

from ..errors import DemucsError
from ..schema import CheckpointRecord, CheckpointRecords, RunStatus, load, load_history, save
from .layout import CHECKPOINT_RECORDS, HISTORY, NEWEST, PREVIOUS, STATUS

Progress = tp.Tuple[int, int, int, int]      # epochs done; of the next one: steps, candidates validated, songs tested


def identity(path: Path) -> tp.Optional[str]:
    """The same for all files with the content of this checkpoint; None where it is missing or damaged. It follows from the
    checksums that the archive has of its parts, so that no weights are read."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            inside, = (member for member in members if member.filename.endswith("/data.pkl"))
            if inside.compress_type != zipfile.ZIP_STORED:
                return None
            archive.read(inside)             # its checksum is looked at; a disk that lost power may have lost its middle
    except Exception:           # whatever a damaged file leads to, it is no checkpoint
        return None
    parts = sorted((member.filename, member.CRC, member.file_size) for member in members)
    return hashlib.sha256(repr(parts).encode(errors="backslashreplace")).hexdigest()[:16]


def records(folder: Path) -> tp.List[CheckpointRecord]:
    """What is noted of the checkpoints in `folder`; nothing where the file is missing or damaged."""
    try:
        return load(CheckpointRecords, folder / CHECKPOINT_RECORDS).checkpoints
    except (DemucsError, OSError):
        return []


def note(folder: Path, progress: Progress, *fresh: Path) -> None:
    """Record how far a checkpoint has come that will be the newest of the run in `folder` at once. The first of the files
    `fresh` holds it; any further one is kept, and so is its record."""
    new = {found: index > 0 for index, path in enumerate(fresh) if (found := identity(path)) is not None}
    there = {identity(folder / name) for name in (NEWEST, PREVIOUS)}
    older = [record for record in records(folder)
             if (record.kept or record.identity in there) and record.identity not in new]
    save(CheckpointRecords([CheckpointRecord(name, *progress, kept) for name, kept in new.items()] + older),
         folder / CHECKPOINT_RECORDS)


def progress_of(folder: Path, name: str) -> tp.Optional[Progress]:
    """How far the checkpoint `name` in `folder` has come; None where it is missing or damaged."""
    found = identity(folder / name)
    if found is None:
        return None
    for record in records(folder):
        if record.identity == found:
            return record.epochs, record.step, record.validated, record.tested
    return _from_history(folder)


def progress(folder: Path) -> tp.Optional[Progress]:
    """How far the newest checkpoint in `folder` that can be read has come; None where there is none."""
    found = progress_of(folder, NEWEST)
    return progress_of(folder, PREVIOUS) if found is None else found


def _from_history(folder: Path) -> Progress:
    """Of a checkpoint without a record, as older versions wrote them: the epochs that are done, and the steps where the run
    was stopped, which it saves then."""
    try:
        epochs = len(load_history(folder / HISTORY))
    except DemucsError:
        epochs = 0
    try:
        status = load(RunStatus, folder / STATUS)
    except DemucsError:
        return epochs, 0, 0, 0
    return epochs, status.step if status.state == "stopped" and status.epoch == epochs + 1 else 0, 0, 0
