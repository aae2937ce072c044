"""Exclusive use of a file by one process at a time, while others wait."""

import contextlib
import logging
import os
import typing as tp
from pathlib import Path

try:
    import fcntl
except ImportError:      # not on Windows
    fcntl = None         # type: ignore[assignment]

logger = logging.getLogger(__name__)


def open_locked(path: tp.Union[str, Path], what: str, doing: str = "fetching") -> tp.Optional[tp.BinaryIO]:
    """The file `path` for reading and writing, created if it does not exist, and locked until it is closed. None if
    files cannot be locked (on some parallel file systems).

    Waits as long as another process holds the lock, and logs that this one is `doing` something with `what`. Raises
    OSError if the file cannot be opened, for instance because its folder was removed meanwhile.
    """
    while fcntl is not None:
        file = open(path, "r+b", buffering=0, opener=lambda name, _: os.open(name, os.O_RDWR | os.O_CREAT, 0o666))
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.info("%s: another process is %s it, waiting for that one", what, doing)
                fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            with file:
                if os.fstat(file.fileno()).st_size == 0:
                    os.unlink(path)
            return None
        except BaseException:      # interrupted while it waits
            file.close()
            raise
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        file.close()      # the other process is done with the file, and renamed or removed it: open a new one
    return None
