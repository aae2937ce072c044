"""One process at a time trains a run: a lock that its owner cannot forget, because it ends with the process.

It is a lock of the operating system on the file `lock` in the run's folder, whose content says who holds it. What
stands there after the process has ended keeps nobody out. It reaches other nodes where the file system hands locks on,
as NFS does.
"""

import contextlib
import errno
import fcntl
import json
import logging
import os
import platform
import time
import typing as tp
from pathlib import Path

from ..errors import TrainingError
from .layout import LOCK

logger = logging.getLogger(__name__)

PATIENCE = 20.       # seconds; a process that was killed just now may not be gone yet
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
_handles: tp.Dict[Path, int] = {}       # of the locks that this process holds, by their folders


def this_job() -> tp.Optional[str]:
    """What Slurm calls the job that this process belongs to, and no other: one element of an array has the number of the
    whole array. None outside a job."""
    array, job = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_JOB_ID")
    return f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID')}" if array else job


class LockedError(TrainingError):
    """Another process trains this run."""


@contextlib.contextmanager
def locked(folder: Path, *, patience: float = PATIENCE) -> tp.Iterator[None]:
    """Nobody else trains the run in `folder` inside the block.

    Raises:
        LockedError: where another process does, after `patience` seconds.
        TrainingError: where the folder cannot be written.
    """
    path = folder / LOCK
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise TrainingError(f"cannot write in {folder}: {error.strerror}. A run keeps its checkpoints there: make it "
                            f"writable, or move it to a file system that is, and start again.") from error
    try:
        _take(handle, path, patience)
        _handles[folder.absolute()] = handle
        yield
    finally:
        _handles.pop(folder.absolute(), None)
        os.close(handle)


def held(folder: Path) -> bool:
    """Whether this process has locked `folder`."""
    return folder.absolute() in _handles


def lost(folder: Path) -> bool:
    """Whether this process has locked `folder`, and what is called so now is another one, or gone. The file must not be
    opened for that, since a process loses its lock with the first handle that it closes."""
    if not held(folder):
        return False
    try:
        return not os.path.samestat(os.fstat(_handles[folder.absolute()]), os.stat(folder / LOCK))
    except FileNotFoundError:
        return True


def _take(handle: int, path: Path, patience: float) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            # Of a process, not of a file: loader workers and soundstretch do not inherit it.
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            if error.errno in NO_LOCKS:
                logger.warning("%s: this file system has no locks (%s); see to it that no other process trains this run",
                               path, error.strerror)
                return
            if time.monotonic() > deadline:
                raise LockedError(f"{path.parent.name} is being trained already, by {_holder(handle)}: one process at "
                                  f"a time. Wait for its end, or end it.") from error
        time.sleep(0.2)
    content = json.dumps({"host": platform.node(), "process": os.getpid(), "job": this_job()})
    try:
        os.pwrite(handle, content.ljust(os.fstat(handle).st_size).encode(), 0)     # no moment without content
        os.ftruncate(handle, len(content))
    except OSError as error:                  # a full disk; the lock holds all the same
        logger.warning("cannot write %s: %s", path, error)


def _holder(handle: int) -> str:
    try:
        found = json.loads(os.pread(handle, 4096, 0))
        job = f", Slurm job {found['job']}" if found["job"] else ""
        return f"process {found['process']} on {found['host']}{job}"
    except (ValueError, KeyError, TypeError, OSError):
        return "another process"
