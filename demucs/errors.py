"""Errors that are shown to users.

Every message of a `DemucsError` names the value, the file it concerns, and the fix. Command lines and batch scripts
print it as one line and exit with a non-zero status; callers of the library can catch it by its subclass.
"""

import difflib
import errno
import typing as tp

ALLOCATION = ("can't allocate memory", "not enough memory", "Cannot allocate memory", "_ALLOC_FAILED", "std::bad_alloc",
              "can't start new thread", "could not create a memory", "failed to map segment")


class DemucsError(Exception):
    """Base class of errors in something outside the code: an input file, a setting, the machine. The message names it
    and the fix."""


class AudioError(DemucsError):
    """Error for an audio file or signal that cannot be used or written: empty, corrupt, not finite, not audio, wrong
    rate or length."""


class DatasetError(DemucsError):
    """Error for a dataset folder or its files that are missing, empty, incomplete or inconsistent."""


class ConfigError(DemucsError):
    """Error for a setting with an unknown name or an impossible value."""


class SignatureError(DemucsError):
    """Error for a requested experiment, model or release file that does not exist."""


class PackageError(DemucsError):
    """Error for a model file that cannot be trusted, read, written, or matched to a model."""


class TrainingError(DemucsError):
    """Error for a training that cannot continue: a non-finite loss, an epoch without a batch, a checkpoint that cannot
    be written."""


class ToolError(DemucsError):
    """Error for an external program (soundstretch, ffmpeg) that is missing, too old, or failed."""


def did_you_mean(word: str, known: tp.Iterable[str]) -> str:
    """Suffix of a message about a misspelt word: " Did you mean 'x'?" with the nearest known one, or ""."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def quoted(text: tp.Any, most: int = 200) -> str:
    """Text from a file or another library, prepared for a message: in one line, of at most `most` characters ("..." at
    the end if it is cut), with escapes for control characters."""
    line = " ".join(str(text).split())
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line[:most + 1])
    return shown if len(shown) <= most else shown[:most - 3] + "..."


def describe_os_error(error: OSError) -> str:
    """Text of an error of the operating system without an error number: "FILE: No space left on device", or the reason
    alone if it names no file."""
    reason = error.strerror or str(error)
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return ": ".join([*names, reason])


def exhausted_memory(error: BaseException) -> str:
    """"memory" or "GPU memory" if `error` means that it is exhausted, else "". torch and the libraries below it raise
    plain RuntimeErrors for that; a library that cannot be loaded for lack of memory raises an ImportError."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "OutOfMemoryError" in kinds:
        return "GPU memory"
    text = str(error)
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return "memory"
    exhausted = isinstance(error, (RuntimeError, ImportError, OSError)) and any(word in text for word in ALLOCATION)
    if isinstance(error, MemoryError) or exhausted:
        return "GPU memory" if "CUDA" in text or "CUBLAS" in text or "CUDNN" in text else "memory"
    return ""
