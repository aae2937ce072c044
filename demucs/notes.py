"""Suppression of messages that decoding libraries print to stderr without the name of the file."""

import contextlib
import os
import threading
import typing as tp

STDERR = 2
_changed = threading.Condition(threading.RLock())
_inside = 0
_saved = -1
_own = threading.local()       # number of contexts that the thread itself is in


@contextlib.contextmanager
def without_library_notes() -> tp.Iterator[None]:
    """Context in which all output to file descriptor 2 (stderr) of this process is dropped, as that of C libraries.

    Messages of other Python threads on that descriptor are lost meanwhile, too, unless they are written within
    `audible`. Threads that are in this context at the same time share one redirection.
    """
    global _inside, _saved
    with _changed:
        _inside += 1
        if _inside == 1:
            _saved = _divert()
    _own.depth = getattr(_own, "depth", 0) + 1
    try:
        yield
    finally:
        _own.depth -= 1
        with _changed:
            _inside -= 1
            if _inside == 0 and _saved >= 0:
                os.dup2(_saved, STDERR)
                os.close(_saved)
                _saved = -1
            _changed.notify_all()


@contextlib.contextmanager
def audible() -> tp.Iterator[None]:
    """Context in which stderr is not suppressed by other threads: entering it waits until they have left
    `without_library_notes`, and they cannot enter that until it ends. It does not wait for the thread itself."""
    with _changed:
        while _inside and not getattr(_own, "depth", 0):
            _changed.wait()
        yield


def _reset() -> None:
    """New lock for a forked process, in which a thread that held it does not exist."""
    global _changed
    _changed = threading.Condition(threading.RLock())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset)


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
