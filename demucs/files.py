"""Files that are either whole or not there."""

import contextlib
import os
import tempfile
import typing as tp
from pathlib import Path


@contextlib.contextmanager
def atomic(path: tp.Union[str, Path]) -> tp.Iterator[tp.BinaryIO]:
    """A binary file that takes the name `path` once it is complete and on disk, and vanishes on any error.

    A reader sees the old content or the new one, never a part; where the disk is full, the old one stays.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)   # mkstemp makes files that nobody else in the group could read
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
