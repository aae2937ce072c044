"""ffmpeg and ffprobe as programs beside ours: found once, run without a shell, with paths that cannot be options."""

import functools
import shutil
import typing as tp
from pathlib import Path

from ..dsp import programs
from ..errors import AudioError, ToolError

# ffmpeg's names of containers that hold audio themselves. Playlists and lists of files are not among them.
CONTAINERS = "aac,ac3,aiff,amr,ape,asf,au,avi,caf,flac,flv,matroska,mov,mp3,mpeg,mpegts,ogg,tta,w64,wav,wv"


def existing_file(path: tp.Union[str, Path]) -> Path:
    """The absolute path of an audio file. Raises AudioError where it is missing, a folder, or empty."""
    path = Path(path).absolute()
    if not path.is_file():
        raise AudioError(f"{path}: " + ("is a folder, not an audio file" if path.is_dir() else "no such file"))
    if path.stat().st_size == 0:
        raise AudioError(f"{path}: the file is empty (0 bytes); copy or download it again")
    return path


@functools.lru_cache(maxsize=None)
def program(name: str) -> str:
    """Where a program is. Raises ToolError where it is not installed."""
    path = shutil.which(name)
    if path is None:
        raise ToolError(f"{name} is not installed: it is needed for audio that is neither wav, flac, mp3 nor ogg "
                        f"(`make setup`, or the package ffmpeg of apt or conda-forge)")
    return path


def run(command: tp.List[str], path: Path) -> bytes:
    """What a command writes to its output. Raises AudioError naming `path` where it fails."""
    done = programs.call(command)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise AudioError(f"{path}: not audio that ffmpeg or libsndfile can read ({reason[-1]})")
    return done.stdout


def input_arguments(path: Path) -> tp.List[str]:
    """ffmpeg's arguments for a local file. A playlist in disguise must not make it open anything else."""
    return ["-protocol_whitelist", "file", "-format_whitelist", CONTAINERS, "-i", f"file:{path}"]
