"""Suppression of messages that decoding libraries print to stderr without the name of the file."""

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
    """Context in which all output to file descriptor 2 (stderr) of this process is dropped, as that of C libraries.

    Messages of other Python threads on that descriptor are lost meanwhile, too. Threads that are in this context at the
    same time share one redirection.
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
    """Redirect descriptor 2 to /dev/null. Returns a duplicate of the original, or -1 if it is closed."""
    try:
        saved = os.dup(STDERR)
    except OSError:
        return -1
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, STDERR)
    os.close(null)
    return saved
