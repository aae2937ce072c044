"""Where separated stems go: names from a template, inside one folder, and no two of a call the same."""

import math
import os
import typing as tp
from pathlib import Path

import torch

from ..errors import AudioError, ConfigError
from ..files import free_bytes, obstacle
from . import defaults
from .templates import check_fields

FIELDS = ("track", "trackext", "stem", "ext")
SUFFIXES = (".wav", ".flac", ".mp3")


class OutputFolder:
    """Hands out file names under `folder`.

    Args:
        folder: everything stays inside of it, but where folders in it are links to elsewhere.
        template: with the fields {track} (file name without extension), {trackext}, {stem} and {ext}.
        extension: "wav", "flac" or "mp3".
        stems: names of what will be written for a song, which must get different files.

    Raises:
        ConfigError: for a template with other fields, another suffix, the same name for several stems, or one that leads out.
    """

    def __init__(self, folder: Path, *, template: str = defaults.TEMPLATE, extension: str = "wav",
                 stems: tp.Sequence[str] = ("stem", "other")):
        self.folder = folder
        self.template = template
        self.extension = extension
        self._taken: tp.Set[Path] = set()
        check_fields("--filename", template, FIELDS)
        names = [self._path("track", "wav", stem) for stem in stems]
        if len(set(names)) < len(names):
            raise ConfigError(f"--filename {template!r}: all stems of a song would get the same name; use {{stem}}")

    def _path(self, track: str, trackext: str, stem: str) -> Path:
        try:
            name = self.template.format(track=track, trackext=trackext, stem=stem, ext=self.extension)
        except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
            known = ", ".join(f"{{{field}}}" for field in FIELDS)
            raise ConfigError(f"--filename {self.template!r} cannot be filled in ({error}); its fields are {known}"
                              ) from error
        path = Path(os.path.normpath(self.folder / name))
        if path.suffix.lower() not in SUFFIXES:
            raise ConfigError(f"--filename {self.template!r} gives {name!r}, which ends in none of "
                              f"{', '.join(SUFFIXES)}; end it with .{{ext}}")
        if Path(os.path.abspath(self.folder)) not in Path(os.path.abspath(path)).parents:
            raise ConfigError(f"--filename {self.template!r} gives {name!r}, which leads out of {self.folder}; choose "
                              f"another folder with --out")
        return path

    def paths(self, track: Path, stems: tp.Iterable[str]) -> tp.Dict[str, Path]:
        """Stem -> file for the stems of the file `track`. A name that an earlier track of this folder has got gets a
        number: "song", "song (2)", ...

        Raises:
            ConfigError: where the template has no field that could tell the tracks apart.
        """
        name, dot, extension = track.name.rpartition(".")
        if not name.strip("."):             # ".wav" and "...wav" have no name before the extension
            name, extension = track.name.replace(".", "_"), extension if dot else track.name
        stems = list(stems)
        number = 1
        while True:
            label = name if number == 1 else f"{name} ({number})"
            paths = {stem: self._path(label, extension, stem) for stem in stems}
            if self._taken.isdisjoint(paths.values()):
                self._taken.update(paths.values())
                return paths
            if "{track" not in self.template.replace("{trackext", ""):
                raise ConfigError(f"{track}: its stems would overwrite those of another track of this call; use "
                                  f"{{track}} in --filename {self.template!r}")
            number += 1


def require_writable(paths: tp.Iterable[Path]) -> None:
    """Raises AudioError where one of the files cannot be written, before hours are spent on what goes into it."""
    for path in paths:
        reason = obstacle(path)
        if reason:
            raise AudioError(f"{path}: cannot be written: {reason}")


def require_space(paths: tp.Sequence[Path], seconds: float, bytes_per_second: float) -> None:
    """Raises AudioError where files of that length do not fit on the disk any more."""
    needed = len(paths) * seconds * bytes_per_second
    free = free_bytes(paths[0]) if paths else 0
    if needed > free:
        raise AudioError(f"{paths[0].parent}: no space left on device: {len(paths)} stems of {seconds:.0f} s need "
                         f"{math.ceil(needed / 1e6)} MB, {int(free / 1e6)} MB are free; free some space, or choose another folder "
                         f"with --out")


def bytes_per_second(extension: str, *, samplerate: int, channels: int, bits: int, bitrate: int) -> float:
    """Of a file: exact for wav and mp3 (of `bitrate` kbit/s); of flac a third of wav, which most music needs at least."""
    if extension == "mp3":
        return 1000 * bitrate / 8
    return samplerate * channels * bits / 8 / (3 if extension == "flac" else 1)


def folder_name(model: str) -> str:
    """What the folder for a model is called: its name, without the "hf://" and slashes of one on the hub."""
    return model.replace("hf://", "").replace("/", "_")


def stem_names(sources: tp.Sequence[str], stem: tp.Optional[str], method: str) -> tp.List[str]:
    """What is written for a song: all sources, or `stem` and what `two_stems` makes of the rest."""
    if stem is None:
        return list(sources)
    return [stem, *{"add": [f"no_{stem}"], "minus": [f"minus_{stem}"]}.get(method, [])]


def two_stems(mix: torch.Tensor, estimates: tp.Mapping[str, torch.Tensor], stem: str, method: str
              ) -> tp.Dict[str, torch.Tensor]:
    """`stem` and the rest of the song, both [A, L], by name.

    The rest is `no_STEM`, the sum of the other estimates (method "add"), or `minus_STEM`, the mixture less the estimate
    ("minus"), or left out ("none").
    """
    rest = {}
    if method == "add":
        rest = {f"no_{stem}": sum(other for name, other in estimates.items() if name != stem)}
    elif method == "minus":
        rest = {f"minus_{stem}": mix - estimates[stem]}
    return {stem: estimates[stem], **rest}
