"""Ledger of a run: `ledger.jsonl` in its folder, with a line at the beginning and at the end of each session.

GPU hours are computed from this file, since Slurm forgets a job minutes after its end unless the site has an accounting
database, and remembers only the last execution of a requeued job. Lines are only appended, each by one write. A line
that a crash or a full disk has truncated is skipped, and the next one starts on a new line. A session that was killed
writes no end: the next session adds it from `status.json`, and until then the reader infers it.

This module does not import torch, so that the table of runs appears without delay.
"""

import contextlib
import dataclasses
import datetime
import fcntl
import json
import os
import time
import typing as tp
from pathlib import Path

from ..schema import LedgerLine, RunStatus, SchemaError, from_plain, to_plain
from .layout import LEDGER

PATIENCE = 2.        # seconds that a writer waits for the lock of another one; then it writes without it


@dataclasses.dataclass(frozen=True)
class Stay:
    """One session of a run with its duration in seconds. `exact` is False if the duration is not known exactly: it is
    an upper bound, or 0 if nothing is known. `open` is True if the session has no end in the ledger and no later
    session."""
    line: LedgerLine
    seconds: float
    exact: bool
    open: bool

    @property
    def gpu_seconds(self) -> float:
        """Duration times number of GPUs, in seconds."""
        return self.seconds * sum(self.line.gpus.values())


def append(line: LedgerLine, folder: Path) -> None:
    """Append `line` to the ledger of the run in `folder`, which must exist; the ledger is created if missing. Several
    processes may append at once. If the last line is truncated, the new one starts on a line of its own.

    Raises:
        OSError: if the file cannot be written.
    """
    text = json.dumps(to_plain(line), allow_nan=False).encode() + b"\n"
    handle = os.open(folder / LEDGER, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        with _locked(handle):
            size = os.fstat(handle).st_size
            if size and os.pread(handle, 1, size - 1) != b"\n":
                text = b"\n" + text          # the last line is truncated
            os.write(handle, text)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _locked(handle: int) -> tp.Iterator[None]:
    """Context with a lock on the file. Local file systems do not interleave appending writes; network file systems need
    the lock, if they support it."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= deadline:
                break
            time.sleep(0.02)
        except OSError:                      # no locks on this file system
            break
    yield                                    # closing the file releases it


def read(folder: Path) -> tp.Tuple[tp.List[LedgerLine], int]:
    """(lines of the ledger of the run in `folder`, number of unreadable lines, which are skipped); ([], 0) without a
    ledger. Raises OSError if it cannot be read."""
    try:
        content = (folder / LEDGER).read_bytes()
    except FileNotFoundError:
        return [], 0
    lines, damaged = [], 0
    for number, text in enumerate(content.splitlines(), start=1):
        if not text.strip():
            continue
        try:
            lines.append(from_plain(LedgerLine, json.loads(text), where=f"{LEDGER}, line {number}"))
        except (ValueError, SchemaError):
            damaged += 1
    return lines, damaged


def moment(text: str) -> datetime.datetime:
    """Time from its text in a record (ISO 8601), which is UTC unless it has another time zone. Raises ValueError for
    other text."""
    found = datetime.datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=datetime.timezone.utc)


def seconds_between(begin: str, end: str) -> float:
    """Seconds from the time `begin` to the time `end` (texts as in records), at least 0, since the clocks of two nodes
    differ."""
    return max(0., (moment(end) - moment(begin)).total_seconds())


def is_status_of(status: tp.Optional[RunStatus], line: LedgerLine) -> bool:
    """Whether `status` was written by the session of `line`: start time, host and process id are equal. False for
    None."""
    return status is not None and (status.started, status.host, status.process) == (line.started, line.host,
                                                                                    line.process)


def stays(lines: tp.Sequence[LedgerLine], status: tp.Optional[RunStatus] = None) -> tp.List[Stay]:
    """All sessions in `lines`, in the order of their beginnings. A session without an end lasted until the last update
    of `status` if that is its own, else at most until the next session began; the last one has 0 seconds then."""
    last: tp.Dict[str, LedgerLine] = {}
    for line in lines:
        if line.event == "end" or line.session not in last:
            last[line.session] = line
    ordered = sorted(last.values(), key=lambda line: moment(line.started))
    found = []
    for line, following in zip(ordered, [*ordered[1:], None]):
        if line.event == "end" and line.seconds is not None:
            found.append(Stay(line, line.seconds, exact=True, open=False))
        elif is_status_of(status, line):
            found.append(Stay(line, seconds_between(line.started, status.updated), exact=True, open=True))
        elif following is not None:
            found.append(Stay(line, seconds_between(line.started, following.started), exact=False, open=False))
        else:
            found.append(Stay(line, 0., exact=False, open=True))
    return found


def killed(lines: tp.Sequence[LedgerLine], status: tp.Optional[RunStatus]) -> tp.List[LedgerLine]:
    """Missing "end" lines for a ledger with `lines`: one for the session that wrote `status`, if that session has none
    because it was killed; otherwise an empty list."""
    ended = {line.session for line in lines if line.event == "end"}
    return [dataclasses.replace(line, event="end", epoch=status.epoch - 1, step=status.step, state="killed",
                                seconds=seconds_between(line.started, status.updated))
            for line in lines if line.session not in ended and is_status_of(status, line)]


def gpu_hours(found: tp.Sequence[Stay]) -> tp.Optional[float]:
    """GPU hours of the sessions `found`, summed over their GPUs; None if none of them had a GPU."""
    if not any(stay.line.gpus for stay in found):
        return None
    return sum(stay.gpu_seconds for stay in found) / 3600
