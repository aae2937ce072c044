"""Progress of the checkpoints of a run: `checkpoint.json`, written with each checkpoint and read without torch.

A record refers to a checkpoint by its `identity`, which is computed from the content of the file: a copy has the same
one, and a truncated file has none. Records are on disk before a new checkpoint gets its name, and the records of the
files that it may replace stay. Therefore the newest checkpoint has a record even if a node dies between the two writes.
"""

import hashlib
import typing as tp
import zipfile
from pathlib import Path

from ..errors import DemucsError
from ..schema import CheckpointRecord, CheckpointRecords, RunStatus, load, load_history, save
from .layout import CHECKPOINT_RECORDS, HISTORY, NEWEST, PREVIOUS, STATUS

Progress = tp.Tuple[int, int, int, int]      # epochs done; in the next one: steps, candidates validated, songs tested


def identity(path: Path) -> tp.Optional[str]:
    """Hash of the content of a checkpoint, 16 hexadecimal digits; None if the file is missing or damaged. It is
    computed from the checksums in the zip archive, so that weights are not read."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            inside, = (member for member in members if member.filename.endswith("/data.pkl"))
            if inside.compress_type != zipfile.ZIP_STORED:
                return None
            archive.read(inside)             # verifies its checksum: after a power failure, parts of a file may be lost
    except Exception:           # a damaged file may lead to any error
        return None
    parts = sorted((member.filename, member.CRC, member.file_size) for member in members)
    return hashlib.sha256(repr(parts).encode(errors="backslashreplace")).hexdigest()[:16]


def records(folder: Path) -> tp.List[CheckpointRecord]:
    """Records of the checkpoints in `folder`; an empty list if the file is missing or damaged."""
    try:
        return load(CheckpointRecords, folder / CHECKPOINT_RECORDS).checkpoints
    except (DemucsError, OSError):
        return []


def note(folder: Path, progress: Progress, *fresh: Path) -> None:
    """Record the progress of a checkpoint that is about to become the newest of the run in `folder`. The first of the
    files `fresh` holds it. Further ones are copies that are never deleted, and neither are their records. Records of
    files that no longer exist are dropped. Raises OSError if the records cannot be written."""
    new = {found: index > 0 for index, path in enumerate(fresh) if (found := identity(path)) is not None}
    there = {identity(folder / name) for name in (NEWEST, PREVIOUS)}
    older = [record for record in records(folder)
             if (record.kept or record.identity in there) and record.identity not in new]
    save(CheckpointRecords([CheckpointRecord(name, *progress, kept) for name, kept in new.items()] + older),
         folder / CHECKPOINT_RECORDS)


def progress_of(folder: Path, name: str) -> tp.Optional[Progress]:
    """Progress of the checkpoint called `name` in `folder`; None if it is missing or damaged. Without a record of it,
    the progress comes from history and status."""
    found = identity(folder / name)
    if found is None:
        return None
    for record in records(folder):
        if record.identity == found:
            return record.epochs, record.step, record.validated, record.tested
    return _from_history(folder)


def progress(folder: Path) -> tp.Optional[Progress]:
    """Progress of the newest checkpoint in `folder`, or of the previous one if that is missing or damaged; None if
    there is neither."""
    found = progress_of(folder, NEWEST)
    return progress_of(folder, PREVIOUS) if found is None else found


def _from_history(folder: Path) -> Progress:
    """Progress of a checkpoint without a record, as older versions wrote them: the number of epochs in the history, and
    the steps in the status if the run was stopped by a signal."""
    try:
        epochs = len(load_history(folder / HISTORY))
    except DemucsError:
        epochs = 0
    try:
        status = load(RunStatus, folder / STATUS)
    except DemucsError:
        return epochs, 0, 0, 0
    return epochs, status.step if status.state == "stopped" and status.epoch == epochs + 1 else 0, 0, 0
