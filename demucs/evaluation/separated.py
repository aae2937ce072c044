"""Songs that were separated before, by whatever program, in the place of a model: FOLDER/TRACK/SOURCE.wav."""

import typing as tp
from pathlib import Path

import torch

from ..audio import reading
from ..data.kinds.folders import stem_files
from ..data.tracks import MIXTURE
from ..errors import DatasetError
from .tracks import ReferenceTrack, Song

LAME_DELAY = 1105            # samples by which LAME and the decoder delay a song, where the file does not say so
LAME_PADDING = 3 * 1152      # and at most so many more at its end
NAMED = 5                    # tracks in a message


def estimate_files(folder: Path) -> tp.Dict[str, Path]:
    """Source -> file of its estimate in the folder of a track, in the order of names."""
    return {name: path for name, path in sorted(stem_files(folder).items()) if name != MIXTURE}


def separated_folders(root: Path, kind: str = "song") -> tp.List[Path]:
    """Folders in ROOT that hold estimates, sorted. Raises DatasetError where none does, which calls one a `kind`."""
    folders = sorted(path for path in root.iterdir() if path.is_dir() and estimate_files(path)) if root.is_dir() else []
    if not folders:
        raise DatasetError(f"{root}: contains no separated {kind}; it should hold TRACK/SOURCE.wav")
    return folders


def without_delay(wav: torch.Tensor, path: Path, length: int) -> torch.Tensor:
    """The song of `length` samples in what an mp3 was decoded to, where that is longer by as much as LAME may add;
    anything else as it is."""
    if path.suffix.lower() == ".mp3" and LAME_DELAY <= wav.shape[-1] - length <= LAME_DELAY + LAME_PADDING:
        return wav[..., LAME_DELAY:LAME_DELAY + length]
    return wav


class SeparatedFolder:
    """A folder with a folder per track, and in each a file per source: wav, flac or mp3, at the rate of the references.

    Has the attributes of a model that an evaluation asks for: `sources`, `samplerate`, `audio_channels`.

    Args:
        folder: of FOLDER/TRACK/SOURCE.wav, or FOLDER/test/TRACK/SOURCE.wav.
        sources: default: those of the first track.

    Raises:
        DatasetError: where there is no such folder, or nothing in it.
        AudioError: where the first file cannot be read.
    """

    def __init__(self, folder: tp.Union[str, Path], *, sources: tp.Optional[tp.Sequence[str]] = None):
        folder = Path(folder)
        self.folder = folder / "test" if (folder / "test").is_dir() else folder
        if not self.folder.is_dir():
            raise DatasetError(f"{self.folder}: no such folder; give one with TRACK/SOURCE.wav")
        files = estimate_files(separated_folders(self.folder, "track")[0])
        self.sources = list(sources or files)
        info = reading.probe(next(iter(files.values())))
        self.samplerate, self.audio_channels = info.samplerate, info.channels

    def require(self, tracks: tp.Iterable[ReferenceTrack]) -> None:
        """Raises DatasetError where a source of a track is missing."""
        missing = [f"{self.folder / track.name / source}.wav" for track in tracks for source in self.sources
                   if source not in (estimate_files(self.folder / track.name)
                                     if (self.folder / track.name).is_dir() else {})]
        if missing:
            more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
            raise DatasetError(f"separated files are missing: {', '.join(missing[:NAMED])}{more}; separate these "
                               f"tracks, or give the sources that are there")

    @property
    def formats(self) -> str:
        """Kinds of files that there are, such as "flac, wav"."""
        suffixes = {path.suffix.lower()[1:] for folder in separated_folders(self.folder)
                    for name, path in estimate_files(folder).items() if name in self.sources}
        return ", ".join(sorted(suffixes))

    def files(self, track: ReferenceTrack) -> tp.Tuple[Path, ...]:
        """The files of a track's estimates, in the order of `sources`."""
        stems = estimate_files(self.folder / track.name)
        return tuple(stems[source] for source in self.sources)

    def separate(self, track: ReferenceTrack) -> tp.Tuple[Song, torch.Tensor]:
        """The track, and its estimates [S, A, L] as they are in the files.

        Raises:
            DatasetError: where a file does not fit the references in rate, channels or length.
            AudioError: where one cannot be read.
        """
        song = track.read()
        _, channels, length = song.references.shape
        estimates = []
        for path in self.files(track):
            wav, rate = reading.read(path)
            reading.require_finite(wav, path, rate)
            wav = without_delay(wav, path, length)
            if (rate, *wav.shape) != (song.samplerate, channels, length):
                raise DatasetError(
                    f"{path}: has {wav.shape[0]} channels, {wav.shape[-1]} samples at {rate} Hz; the references have "
                    f"{channels}, {length} at {song.samplerate} Hz; separate the track again, without converting it")
            estimates.append(wav)
        return song, torch.stack(estimates)
