"""Which code made a number: the commit and the versions that records carry."""

import datetime
import functools
import platform
import subprocess
import typing as tp
from importlib import metadata
from pathlib import Path

from .. import __version__

REPOSITORY = Path(__file__).resolve().parents[2]
DIFF_BYTES = 1_000_000       # of which a record keeps a difference
NOT_CODE = ("demucs_results",)       # what runs leave behind
PACKAGES = ("torch", "torchaudio", "numpy", "scipy", "museval", "musdb", "julius", "soundfile", "dora-search")


@functools.lru_cache(maxsize=None)
def commit() -> str:
    """The commit of this checkout, with "-dirty" where tracked files differ from it; "" outside of git.

    Read once per process: a run is the code that it started with.
    """
    return _git("describe", "--always", "--abbrev=40", "--exclude=*", "--dirty").decode().strip()


def uncommitted(limit: int = DIFF_BYTES) -> bytes:
    """What tracked files differ in from the commit, as `git apply` takes it; nothing where they do not, or outside of git.
    Longer ones are cut, and say so in their last line."""
    diff = _git("diff", "HEAD", "--binary", "--no-color", "--no-ext-diff", "--", ".",
                *(f":(exclude){name}" for name in NOT_CODE))
    if len(diff) <= limit:
        return diff
    return diff[:limit] + f"\n# cut here: {len(diff)} bytes in all\n".encode()


def _git(*arguments: str) -> bytes:
    """What git prints about this checkout, nothing where it fails."""
    if not (REPOSITORY / ".git").exists():
        return b""       # installed as a package: a repository further up would be somebody else's
    try:
        done = subprocess.run(["git", "-C", str(REPOSITORY), *arguments], capture_output=True, timeout=60,
                              stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout if done.returncode == 0 else b""


def packages() -> tp.Dict[str, str]:
    """All installed distributions and their versions."""
    found = {item.metadata["Name"]: item.version for item in metadata.distributions()}
    return dict(sorted((name, version) for name, version in found.items() if name and version))


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
