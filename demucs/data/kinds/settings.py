"""Settings of a kind of dataset."""

import typing as tp
from dataclasses import dataclass, field
from pathlib import Path

from ..tracks import Tracks
from .folders import folder_tracks


@dataclass(frozen=True)
class KindSettings:
    """Arguments of a kind: `root` is the folder of the dataset, `sources` are the stems that every song must have."""
    root: Path
    sources: tp.Tuple[str, ...]
    _listed: tp.Dict[str, Tracks] = field(default_factory=dict, repr=False, compare=False)

    def folder(self, name: str) -> Tracks:
        """Songs in ROOT/NAME and their faults, as `folder_tracks` finds them. Each folder is listed once per instance,
        even if several splits are in it."""
        if name not in self._listed:
            self._listed[name] = folder_tracks(self.root / name, self.sources)
        return self._listed[name]
