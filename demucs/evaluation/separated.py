"""Previously separated songs of any separator, FOLDER/TRACK/SOURCE.wav, which are evaluated like a model."""

import typing as tp
from pathlib import Path

import torch

from ..audio import reading
from ..data.kinds.folders import stem_files
from ..data.tracks import MIXTURE
from ..errors import DatasetError
from .tracks import ReferenceTrack, Song

LAME_DELAY = 1105            # delay of LAME and decoder in samples, for files without information about it
LAME_PADDING = 3 * 1152      # maximum padding at the end in samples
NAMED = 5                    # maximum number of tracks named in a message


def estimate_files(folder: Path) -> tp.Dict[str, Path]:
    """Files of the estimates in the folder of a track, a mapping of source -> path sorted by source: all stems except
    the mixture."""
    return {name: path for name, path in sorted(stem_files(folder).items()) if name != MIXTURE}


def separated_folders(root: Path, kind: str = "song") -> tp.List[Path]:
    """Folders directly in `root` that contain estimates, sorted by name. Raises DatasetError if there are none or
    `root` is missing; `kind` is the noun of its message."""
    folders = sorted(path for path in root.iterdir() if path.is_dir() and estimate_files(path)) if root.is_dir() else []
    if not folders:
        raise DatasetError(f"{root}: contains no separated {kind}; it should hold TRACK/SOURCE.wav")
    return folders


def without_delay(wav: torch.Tensor, path: Path, length: int) -> torch.Tensor:
    """Waveform [A, L] decoded from the file `path`, cut to the `length` samples of the song if the file is an mp3 and
    the excess fits the delay and padding of the encoder LAME; otherwise `wav` itself."""
    if path.suffix.lower() == ".mp3" and LAME_DELAY <= wav.shape[-1] - length <= LAME_DELAY + LAME_PADDING:
        return wav[..., LAME_DELAY:LAME_DELAY + length]
    return wav


class SeparatedFolder:
    """Folder of previously separated tracks: one folder per track with one file per source (wav, flac or mp3), at the
    sample rate of the references.

    It has the attributes of a model that an evaluation needs: `sources`, `samplerate`, `audio_channels`.

    Args:
        folder: contains TRACK/SOURCE.wav, or test/TRACK/SOURCE.wav.
        sources: default: those of the first track.

    Raises:
        DatasetError: if the folder does not exist or contains no estimates.
        AudioError: if the first file cannot be read.
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
        """Check that every track has a file for each source.

        Raises:
            DatasetError: with the names of the missing files.
        """
        missing = [f"{self.folder / track.name / source}.wav" for track in tracks for source in self.sources
                   if source not in (estimate_files(self.folder / track.name)
                                     if (self.folder / track.name).is_dir() else {})]
        if missing:
            more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
            raise DatasetError(f"separated files are missing: {', '.join(missing[:NAMED])}{more}; separate these "
                               f"tracks, or give the sources that are there")

    @property
    def formats(self) -> str:
        """File formats of the estimates of all songs in the folder, joined: "flac, wav"."""
        suffixes = {path.suffix.lower()[1:] for folder in separated_folders(self.folder)
                    for name, path in estimate_files(folder).items() if name in self.sources}
        return ", ".join(sorted(suffixes))

    def files(self, track: ReferenceTrack) -> tp.Tuple[Path, ...]:
        """Files of a track's estimates, in the order of `sources`. Raises KeyError if one is missing; see `require`."""
        stems = estimate_files(self.folder / track.name)
        return tuple(stems[source] for source in self.sources)

    def separate(self, track: ReferenceTrack) -> tp.Tuple[Song, torch.Tensor]:
        """The song of the track with its references, and its estimates [S, A, L] from the files; nothing is computed.

        Raises:
            DatasetError: if a file differs from the references in sample rate, channels or length.
            AudioError: if a file cannot be read, or has samples that are not finite.
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
