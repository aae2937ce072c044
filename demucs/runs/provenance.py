"""Provenance of results: the commit and the package versions in records."""

import datetime
import functools
import platform
import subprocess
import typing as tp
from importlib import metadata
from pathlib import Path

from .. import __version__

REPOSITORY = Path(__file__).resolve().parents[2]
DIFF_BYTES = 1_000_000       # largest size of a recorded diff
NOT_CODE = ("demucs_results",)       # folders with results of runs
PACKAGES = ("torch", "torchaudio", "numpy", "scipy", "museval", "musdb", "julius", "soundfile", "dora-search")


@functools.lru_cache(maxsize=None)
def commit() -> str:
    """Full hash of the git commit of this checkout, with "-dirty" if tracked files differ from it. "" if this is not a
    git checkout, or if git is missing or fails.

    Read at the first call and kept for the process, since later changes do not affect code that is already loaded.
    """
    return _git("describe", "--always", "--abbrev=40", "--exclude=*", "--dirty").decode().strip()


def uncommitted(limit: int = DIFF_BYTES) -> bytes:
    """Diff between the commit and tracked files, in the format of `git apply`; empty without changes or outside of git.
    Folders with results of runs are left out. A diff of more than `limit` bytes is truncated, with a note in its last
    line."""
    diff = _git("diff", "HEAD", "--binary", "--no-color", "--no-ext-diff", "--", ".",
                *(f":(exclude){name}" for name in NOT_CODE))
    if len(diff) <= limit:
        return diff
    return diff[:limit] + f"\n# cut here: {len(diff)} bytes in all\n".encode()


def _git(*arguments: str) -> bytes:
    """Output of a git command on this checkout; empty if it fails."""
    if not (REPOSITORY / ".git").exists():
        return b""       # installed as a package: a repository in a parent folder would be another project
    try:
        done = subprocess.run(["git", "-C", str(REPOSITORY), *arguments], capture_output=True, timeout=60,
                              stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout if done.returncode == 0 else b""


def packages() -> tp.Dict[str, str]:
    """Versions of all installed distributions, by name."""
    return dict(_packages())


@functools.lru_cache(maxsize=None)
def _packages() -> tp.Tuple[tp.Tuple[str, str], ...]:
    """Names and versions of `packages`, read once in a process: there are hundreds of files."""
    found = {item.metadata["Name"]: item.version for item in metadata.distributions()}
    return tuple(sorted((name, version) for name, version in found.items() if name and version))


def versions() -> tp.Dict[str, str]:
    """Versions by name: of Python, of this package ("demucs"), and of those of `PACKAGES` that are installed."""
    return dict(_versions())


@functools.lru_cache(maxsize=None)
def _versions() -> tp.Mapping[str, str]:
    """`versions`, read once in a process."""
    found = {"python": platform.python_version(), "demucs": __version__}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def now() -> str:
    """The current time in ISO 8601, UTC, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
