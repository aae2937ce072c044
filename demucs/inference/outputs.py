"""Where separated stems go: names from a template, inside one folder, and no two of a call the same."""

import typing as tp
from pathlib import Path

import torch

from ..errors import ConfigError
from . import defaults
from .templates import check_fields

FIELDS = ("track", "trackext", "stem", "ext")
SUFFIXES = (".wav", ".flac", ".mp3")


class OutputFolder:
    """Hands out file names under `folder`.

    Args:
        folder: everything stays inside of it.
        template: with the fields {track} (file name without extension), {trackext}, {stem} and {ext}.
        extension: "wav", "flac" or "mp3".

    Raises:
        ConfigError: for a template with other fields, another suffix, or without {stem}, or one that leads out.
    """

    def __init__(self, folder: Path, *, template: str = defaults.TEMPLATE, extension: str = "wav"):
        self.folder = folder
        self.template = template
        self.extension = extension
        self._taken: tp.Set[Path] = set()
        check_fields("--filename", template, FIELDS)
        self._path("track", "wav", "stem")
        if self._path("track", "wav", "stem") == self._path("track", "wav", "other"):
            raise ConfigError(f"--filename {template!r}: all stems of a song would get the same name; use {{stem}}")

    def _path(self, track: str, trackext: str, stem: str) -> Path:
        try:
            name = self.template.format(track=track, trackext=trackext, stem=stem, ext=self.extension)
        except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
            known = ", ".join(f"{{{field}}}" for field in FIELDS)
            raise ConfigError(f"--filename {self.template!r} cannot be filled in ({error}); its fields are {known}"
                              ) from error
        path = self.folder / name
        if path.suffix.lower() not in SUFFIXES:
            raise ConfigError(f"--filename {self.template!r} gives {name!r}, which ends in none of "
                              f"{', '.join(SUFFIXES)}; end it with .{{ext}}")
        if self.folder.resolve() not in path.resolve().parents:
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
