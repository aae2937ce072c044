"""The one kind of error a user is meant to see.

Every message of a `DemucsError` names the value, the file it concerns, and what to do about it. Front doors
(command lines, batch scripts) print it as one line and exit non-zero; library callers can catch it by its subclass.
"""

import difflib
import typing as tp


class DemucsError(Exception):
    """Something outside the code is wrong: an input file, a setting, the machine. The message says which and the fix."""


class AudioError(DemucsError):
    """An audio file or signal cannot be used: empty, corrupt, not finite, not audio, wrong rate or length."""


class DatasetError(DemucsError):
    """A dataset folder is missing, empty, incomplete or inconsistent."""


class ConfigError(DemucsError):
    """A setting has an unknown name or an impossible value."""


class SignatureError(DemucsError):
    """An experiment, a model name or a release file that was asked for does not exist."""


class PackageError(DemucsError):
    """A model file cannot be trusted, read, or matched to a model."""


class TrainingError(DemucsError):
    """Training cannot go on: a non-finite loss, an epoch without a batch, a checkpoint that cannot be written."""


class ToolError(DemucsError):
    """An external program (soundstretch, ffmpeg) is missing, too old, or failed."""


def did_you_mean(word: str, known: tp.Iterable[str]) -> str:
    """What a message adds for a misspelt word: " Did you mean 'x'?" with the nearest known one, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
