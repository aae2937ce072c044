"""Settings of a kind of dataset."""

import functools
import typing as tp
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import ConfigError
from ..tracks import Tracks
from . import file_names
from .file_names import FileNames
from .folders import folder_tracks
from .mapping import SHIPPED, Instruments


@dataclass(frozen=True)
class KindSettings:
    """Arguments of a kind.

    Attributes:
        root: folder of the dataset.
        sources: stems that every song must have.
        missing: what a source without a file is: an "error", or "silence"; "exclude" leaves the song out.
        instruments: YAML file that maps sources to instruments; "" for the one of the kind.
        split: YAML file with the names of songs for validation and test; "" for the split of the kind.
        files: names of files as `FileNames.text`, for the kinds in `file_names`.
    """
    root: Path
    sources: tp.Tuple[str, ...]
    missing: str = "error"
    instruments: str = ""
    split: str = ""
    files: str = ""
    _listed: tp.Dict[tp.Any, Tracks] = field(default_factory=dict, repr=False, compare=False)

    def folder(self, name: str = "") -> Tracks:
        """Songs in a folder of the dataset, which is listed once even if several splits are in it."""
        return self.once(name, lambda: folder_tracks(self.root / name, self.sources, missing=self.missing))

    def once(self, key: tp.Any, work: tp.Callable[[], Tracks]) -> Tracks:
        """Result of `work`, which is computed once per `key`, for the splits of a dataset that share it."""
        if key not in self._listed:
            self._listed[key] = work()
        return self._listed[key]

    def names(self, kind: str) -> FileNames:
        """The names of files of the layout `kind`. Raises ConfigError as `file_names.check`, or if the sources are not
        those that the files name."""
        found = FileNames.parse(self.files)
        file_names.check(kind, found)
        named = file_names.sources(kind, found)
        if sorted(named) != sorted(self.sources):
            raise ConfigError(f"dset.files names the sources {', '.join(named)} of dset.kind={kind}, and these are needed: "
                              f"{', '.join(self.sources)}; name the files of those")
        return found

    def mapping(self, default: str) -> Instruments:
        """The map of instruments: the user's, or the shipped one named `default`."""
        return Instruments(self.instruments or SHIPPED / f"{default}.yaml", self.sources)


Kind = tp.Callable[[KindSettings, str], Tracks]


def in_splits(listing: tp.Callable[[KindSettings, Path], Tracks]) -> Kind:
    """Kind from a function that lists the songs of a folder. If the dataset has a folder for a split (train, valid or
    validation, test), these folders are the splits; otherwise `splits.select` chooses."""
    from . import splits

    @functools.wraps(listing)
    def tracks(settings: KindSettings, split: str) -> Tracks:
        if (settings.root / "train").is_dir() and not settings.split:
            names = ("valid", "validation") if split == "valid" else (split,)
            folder = next((settings.root / name for name in names if (settings.root / name).is_dir()), settings.root / split)
            return settings.once(folder, lambda: listing(settings, folder))
        return splits.select(settings.once("", lambda: listing(settings, settings.root)), split, settings.split)
    return tracks
