"""Notes that decoding libraries print by themselves, without the name of the file they are about."""

import contextlib
import os
import threading
import typing as tp

STDERR = 2
_lock = threading.Lock()
_inside = 0
_saved = -1


@contextlib.contextmanager
def without_library_notes() -> tp.Iterator[None]:
    """What libraries written in C print on descriptor 2 inside the block is dropped.

    Python's own messages of other threads are lost with it if they go there meanwhile; threads that decode at the same time
    share one diversion.
    """
    global _inside, _saved
    with _lock:
        _inside += 1
        if _inside == 1:
            _saved = _divert()
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0 and _saved >= 0:
                os.dup2(_saved, STDERR)
                os.close(_saved)
                _saved = -1


def _divert() -> int:
    """Sends descriptor 2 nowhere, and returns a copy of what it was; -1 where it is closed."""
    try:
        saved = os.dup(STDERR)
    except OSError:
        return -1
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, STDERR)
    os.close(null)
    return saved
