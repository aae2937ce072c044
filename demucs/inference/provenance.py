"""Which code made a number: the commit and the versions that records carry."""

import datetime
import functools
import platform
import subprocess
import typing as tp
from importlib import metadata
from pathlib import Path

from .. import __version__

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("torch", "torchaudio", "numpy", "scipy", "museval", "musdb", "julius", "soundfile", "dora-search")


@functools.lru_cache(maxsize=None)
def commit() -> str:
    """The commit of this checkout, with "-dirty" where tracked files differ from it; "" outside of git.

    Read once per process: a run is the code that it started with.
    """
    if not (REPOSITORY / ".git").exists():
        return ""       # installed as a package: a repository further up would be somebody else's
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def versions() -> tp.Dict[str, str]:
    """Versions of Python, of this package, and of the installed ones among those that numbers depend on."""
    found = {"python": platform.python_version(), "demucs": __version__}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def now() -> str:
    """The time, ISO 8601, UTC, in seconds."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
