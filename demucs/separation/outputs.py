"""Output files of separated stems: names from a template, inside one folder, and unique within a call."""

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
    """Names of the files of separated stems under `folder`, unique among those that one instance has given. Creates no
    files; files that exist are not avoided.

    Args:
        folder: all files are inside of it; symbolic links in it are not resolved.
        template: file name with the fields {track} (name of the input file without extension), {trackext} (its
            extension), {stem} and {ext}, without another way out of `folder`.
        extension: value of {ext}: "wav", "flac" or "mp3".
        stems: names of the stems of a song, which must get different files.

    Raises:
        ConfigError: for a template with unknown fields, an unknown suffix, the same name for several stems, or a path
            outside of `folder`.
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

    def _path(self, track: str, trackext: str, stem: str, inside: Path = Path()) -> Path:
        try:
            name = self.template.format(track=track, trackext=trackext, stem=stem, ext=self.extension)
        except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
            known = ", ".join(f"{{{field}}}" for field in FIELDS)
            raise ConfigError(f"--filename {self.template!r} cannot be filled in ({error}); its fields are {known}"
                              ) from error
        path = Path(os.path.normpath(self.folder / inside / name))
        if path.suffix.lower() not in SUFFIXES:
            raise ConfigError(f"--filename {self.template!r} gives {name!r}, which ends in none of "
                              f"{', '.join(SUFFIXES)}; end it with .{{ext}}")
        if Path(os.path.abspath(self.folder)) not in Path(os.path.abspath(path)).parents:
            raise ConfigError(f"--filename {self.template!r} gives {name!r}, which leads out of {self.folder}; choose "
                              f"another folder with --out")
        return path

    def paths(self, track: Path, stems: tp.Iterable[str], inside: Path = Path()) -> tp.Dict[str, Path]:
        """Output files of the song in the file `track`, a mapping of stem -> path, in the subfolder `inside` of the
        folder. If another song of this instance has one of these paths, {track} gets a number: "song (2)", "song (3)",
        ... Each call reserves its paths, so a second call for the same file gives others.

        Raises:
            ConfigError: if the template lacks {track}, so that the paths of two songs are equal.
        """
        name, dot, extension = track.name.rpartition(".")
        if not name.strip("."):             # ".wav" and "...wav" have no name before the extension
            name, extension = track.name.replace(".", "_"), extension if dot else track.name
        stems = list(stems)
        number = 1
        while True:
            label = name if number == 1 else f"{name} ({number})"
            paths = {stem: self._path(label, extension, stem, inside) for stem in stems}
            if self._taken.isdisjoint(paths.values()):
                self._taken.update(paths.values())
                return paths
            if "{track" not in self.template.replace("{trackext", ""):
                raise ConfigError(f"{track}: its stems would overwrite those of another track of this call; use "
                                  f"{{track}} in --filename {self.template!r}")
            number += 1


def require_writable(paths: tp.Iterable[Path]) -> None:
    """Check that files can be written at `paths`, before hours are spent on computing them. Nothing is created.

    Raises:
        AudioError: for the first path where that is impossible, with the reason.
    """
    for path in paths:
        reason = obstacle(path)
        if reason:
            raise AudioError(f"{path}: cannot be written: {reason}")


def require_space(paths: tp.Sequence[Path], seconds: float, bytes_per_second: float, temporary: int = 0) -> None:
    """Check that one file of `seconds` length per path, at `bytes_per_second` each, fits on the disk of the first path.
    Without paths it passes. `temporary` is the size in bytes of a temporary file per path, which is deleted as soon as
    its path is written.

    Raises:
        AudioError: if there is too little free space.
    """
    each = seconds * bytes_per_second
    needed = len(paths) * each
    free = free_bytes(paths[0]) if paths else 0
    most = max(needed, len(paths) * temporary + each)
    if needed <= free < most and temporary:
        raise AudioError(f"{paths[0].parent}: no space left on device: {len(paths)} stems of {seconds:.0f} s need "
                         f"{math.ceil(most / 1e6)} MB until they are rescaled, {int(free / 1e6)} MB are free; free "
                         f"some space, choose another folder with --out, or use --clip-mode clamp, which needs "
                         f"{math.ceil(needed / 1e6)} MB")
    if needed > free:
        raise AudioError(f"{paths[0].parent}: no space left on device: {len(paths)} stems of {seconds:.0f} s need "
                         f"{math.ceil(needed / 1e6)} MB, {int(free / 1e6)} MB are free; free some space, or choose "
                         f"another folder with --out")


def bytes_per_second(extension: str, *, samplerate: int, channels: int, bits: int, bitrate: int) -> float:
    """Size in bytes of a second of audio in a file of type `extension`: exact for "wav" (`bits` per sample) and "mp3"
    (`bitrate` in kbit/s, for all channels); for "flac" a third of wav, which is a lower bound for most music."""
    if extension == "mp3":
        return 1000 * bitrate / 8
    return samplerate * channels * bits / 8 / (3 if extension == "flac" else 1)


def folder_name(model: str) -> str:
    """Name of the output folder of a model: the model's name without "hf://", and with "_" for each "/"."""
    return model.replace("hf://", "").replace("/", "_")


def stem_names(sources: tp.Sequence[str], stem: tp.Optional[str], method: str) -> tp.List[str]:
    """Names of the stems written for a song. Without `stem` these are all `sources`; otherwise `stem`, and `no_STEM`
    (method "add") or `minus_STEM` ("minus"), or nothing else ("none"), as in `two_stems`."""
    if stem is None:
        return list(sources)
    return [stem, *{"add": [f"no_{stem}"], "minus": [f"minus_{stem}"]}.get(method, [])]


def two_stems(mix: torch.Tensor, estimates: tp.Mapping[str, torch.Tensor], stem: str, method: str
              ) -> tp.Dict[str, torch.Tensor]:
    """`stem` and the rest of the song (accompaniment), both [A, L], by name.

    The rest is `no_STEM`, the sum of the estimates of all other sources (method "add"); `minus_STEM`, the mixture minus
    the estimate of `stem` ("minus"); or omitted ("none"). For a model whose only source is `stem`, "add" gives the
    mixture minus the estimate, named `no_STEM`. The inputs are not modified; the tensor of `stem` is not copied.
    """
    rest = {}
    if method == "add" and set(estimates) == {stem}:
        rest = {f"no_{stem}": mix - estimates[stem]}
    elif method == "add":
        total = torch.zeros_like(estimates[stem])       # one tensor for all sums: a song is large
        for name, other in estimates.items():
            if name != stem:
                total += other
        rest = {f"no_{stem}": total}
    elif method == "minus":
        rest = {f"minus_{stem}": mix - estimates[stem]}
    return {stem: estimates[stem], **rest}
