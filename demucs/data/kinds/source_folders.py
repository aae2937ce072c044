"""Folders of sounds, one folder per source, as in the layout `sourcefolder` of Open-Unmix: SPLIT/SOURCE/NAME.wav.

The files of different sources do not belong together. Each is a track with a single stem, of which examples are mixed at
random (`data.mixes`). For tests, file n of each source, in sorted order, makes song n; the files of a source with fewer
files are used again.
"""

import typing as tp
from dataclasses import dataclass
from pathlib import Path

import torch

from ...audio import reading
from ...dsp.convert import resample
from ...errors import AudioError, DatasetError, ToolError, did_you_mean
from ..faults import broken_link
from ..tracks import Files, Part, Track, Tracks
from .file_names import SOURCES
from .settings import KindSettings
from .track_folders import listed, split_folder


@dataclass(frozen=True)
class Resampled:
    """A file resampled to `samplerate`, which is read as a whole."""
    path: Path
    samplerate: int

    def read(self, start: int, frames: tp.Optional[int]) -> tp.Tuple[torch.Tensor, int]:
        wav, rate = reading.read(self.path)
        wav = resample(wav, rate, self.samplerate)
        return wav[:, start:None if frames is None else start + frames], self.samplerate

    def probe(self) -> reading.AudioInfo:
        info = reading.probe(self.path)
        return reading.AudioInfo(info.frames * self.samplerate // info.samplerate, self.samplerate, info.channels)


def tracks(settings: KindSettings, split: str) -> Tracks:
    """Songs of `split`: the files of each source as tracks "SOURCE/NAME.wav", or for "test" mixtures of them."""
    names = settings.names(SOURCES)
    root = split_folder(settings.root, split)
    files: tp.Dict[str, tp.List[Path]] = {}
    faults = []
    for source in settings.sources:
        try:
            files[source] = _files(root, source, names.suffix)
        except DatasetError as error:
            faults.append(str(error))
    if faults:
        return Tracks(root, [], faults)
    if split == "test":
        return settings.once("test", lambda: _mixtures(root, files))
    found = [Track(f"{source}/{path.name}", {other: (path,) if other == source else () for other in settings.sources}, (),
                   (source,), path.parent) for source, paths in files.items() for path in paths]
    return Tracks(root, found, [])


def _files(root: Path, source: str, suffix: str) -> tp.List[Path]:
    """Files of a source. Raises DatasetError if there are none."""
    folder = root / source
    if not folder.is_dir():
        there = [path.name for path in listed(root) if path.is_dir()]
        raise DatasetError(f"{broken_link(folder) or f'{folder}: no such folder'}; dset.files names the source {source}, and "
                           f"{root} has the folders {', '.join(there) or 'none'}.{did_you_mean(source, there)}")
    paths = [path for path in listed(folder) if not path.is_dir()]
    found = [path for path in paths if path.name.lower().endswith(suffix)]
    if not found:
        others = sorted({path.suffix for path in paths if path.suffix})
        raise DatasetError(f"{folder}: has no file *{suffix}, and dset.files names it as a source; add some, or set dset.files.ext"
                           + (f" (there are *{', *'.join(others[:5])})" if others else ""))
    for path in found:
        broken = broken_link(path)
        if broken:
            raise DatasetError(broken)
    return found


def _mixtures(root: Path, files: tp.Mapping[str, tp.Sequence[Path]]) -> Tracks:
    """Songs of whole files, as many as the source with the most files has. Files that cannot be read are faults."""
    found, faults = [], []
    for number in range(max(map(len, files.values()))):
        chosen = {source: paths[number % len(paths)] for source, paths in files.items()}
        try:
            stems = _of_one_rate(chosen)
        except (AudioError, ToolError, OSError) as error:
            faults.append(f"test song {number + 1}: {error}")
            continue
        found.append(Track(f"{number + 1:04d} {next(iter(chosen.values())).stem}", stems, (), tuple(stems), root, ragged=True))
    return Tracks(root, found, faults)


def _of_one_rate(chosen: tp.Mapping[str, Path]) -> tp.Dict[str, Files]:
    """The files as stems, at the highest of their sample rates."""
    rates = {source: reading.probe(path).samplerate for source, path in chosen.items()}
    highest = max(rates.values())

    def part(source: str) -> Part:
        path = chosen[source]
        return path if rates[source] == highest else Resampled(path, highest)
    return {source: (part(source),) for source in chosen}
