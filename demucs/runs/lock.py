"""Lock of a run's folder: one process at a time trains a run. The lock is released when the process ends.

It is a lock of the operating system on the file `lock` in the folder, whose content names the holder. The content has
no effect once the process has ended. The lock is effective across nodes if the file system supports that, as NFS does.
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

PATIENCE = 20.       # seconds; a killed process may take some time to end
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
_handles: tp.Dict[Path, int] = {}       # file descriptors of the locks that this process holds, by folder


def this_job() -> tp.Optional[str]:
    """Slurm's id of the job of this process; None outside a job. For an element of an array it is ARRAYID_TASKID, since
    the plain job id of one element is that of the whole array."""
    array, job = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_JOB_ID")
    return f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID')}" if array else job


class LockedError(TrainingError):
    """Error for a run that another process trains."""


@contextlib.contextmanager
def locked(folder: Path, *, patience: float = PATIENCE) -> tp.Iterator[None]:
    """Context manager that holds the exclusive lock of the run in `folder` against other processes. On a file system
    without locks a warning is logged, and the context is entered without one. Not to be nested within a process.

    Raises:
        LockedError: if another process still holds the lock after `patience` seconds.
        TrainingError: if the lock file cannot be opened, because `folder` is missing or not writable.
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
    """Whether this process holds the lock of the run in `folder`."""
    return folder.absolute() in _handles


def lost(folder: Path) -> bool:
    """Whether this process has locked the run in `folder`, and the folder or its lock file was since moved, deleted or
    replaced.

    The lock file must not be opened to find out: a process loses its lock as soon as it closes any descriptor of the
    file.
    """
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
            # lockf locks belong to a process: loader workers and soundstretch do not inherit them.
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            if error.errno in NO_LOCKS:
                logger.warning("%s: this file system has no locks (%s); ensure that no other process trains this run",
                               path, error.strerror)
                return
            if time.monotonic() > deadline:
                raise LockedError(f"{path.parent.name} is being trained already, by {_holder(handle)}: one process at "
                                  f"a time. Wait for its end, or end it.") from error
        time.sleep(0.2)
    content = json.dumps({"host": platform.node(), "process": os.getpid(), "job": this_job()})
    try:
        os.pwrite(handle, content.ljust(os.fstat(handle).st_size).encode(), 0)     # the file is never empty
        os.ftruncate(handle, len(content))
    except OSError as error:                  # such as a full disk; the lock is held nevertheless
        logger.warning("cannot write %s: %s", path, error)


def _holder(handle: int) -> str:
    try:
        found = json.loads(os.pread(handle, 4096, 0))
        job = f", Slurm job {found['job']}" if found["job"] else ""
        return f"process {found['process']} on {found['host']}{job}"
    except (ValueError, KeyError, TypeError, OSError):
        return "another process"
