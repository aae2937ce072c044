"""Songs with their stems, for training and evaluation: the files of each stem, and how they are read."""

import typing as tp
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from ..audio import reading
from ..dsp.convert import convert_channels
from ..errors import AudioError

MIXTURE = "mixture"
OTHERS = "others/"      # key of a track's stems: all files of the song but those of the source, which no file can be named
MANY = 4        # up to so many waveforms, torch adds them up one after the other
SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".aiff", ".aif")    # of stems; the first existing one is read


class Stored(tp.Protocol):
    """Audio that is no file of its own: a stream of a file with several, or samples in memory."""

    @property
    def path(self) -> Path:
        """The file, for messages."""
        ...

    def read(self, start: int, frames: tp.Optional[int]) -> tp.Tuple[torch.Tensor, int]:
        """As `audio.reading.read`."""
        ...

    def probe(self) -> reading.AudioInfo:
        """As `audio.reading.probe`."""
        ...


Part = tp.Union[Path, Stored]
Files = tp.Tuple[Part, ...]


def read_part(part: Part, start: int = 0, frames: tp.Optional[int] = None) -> tp.Tuple[torch.Tensor, int]:
    """(samples [A, L], sample rate in Hz) of a file. Raises the errors of `audio.reading.read`."""
    return reading.read(part, start, frames) if isinstance(part, Path) else part.read(start, frames)


def read_int16(part: Part, start: int = 0, frames: tp.Optional[int] = None) -> tp.Optional[np.ndarray]:
    """Samples [L, A] of a file with 16-bit samples, as `audio.reading.read_int16`; None for all others."""
    if isinstance(part, Path):
        found = reading.read_int16(part, start, frames)
        return None if found is None else found[0]
    return part.read_int16(start, frames) if hasattr(part, "read_int16") else None


def probe_part(part: Part) -> reading.AudioInfo:
    """Length, sample rate and channels of a file. Raises the errors of `audio.reading.probe`."""
    return reading.probe(part) if isinstance(part, Path) else part.probe()


def part_path(part: Part) -> Path:
    """Path of a file, for messages and time stamps."""
    return part if isinstance(part, Path) else part.path



@dataclass(frozen=True)
class Track:
    """A song of a dataset: the files of its stems and of its mixture.

    Attributes:
        name: unique within its dataset.
        stems: source -> files that add up to it; none for a source that is silent in this song. With the key `OTHERS`,
            those of the rest of the song.
        mixture: files of the mixture; if empty, the mixture is the sum of the stems in `mixed`.
        mixed: stems that add up to the song, for songs without a mixture file; empty if unknown.
        folder: of the song, for messages.
        ragged: whether files may differ in length; the shorter ones end in silence.
    """
    name: str
    stems: tp.Mapping[str, Files]
    mixture: Files = ()
    mixed: tp.Tuple[str, ...] = ()
    folder: Path = field(default=Path("."), compare=False)
    ragged: bool = False

    def files(self, source: str) -> Files:
        """Files of the stem `source`, or of "mixture", which may have none."""
        return self.mixture if source == MIXTURE else self.stems[source]

    def read(self, source: str, start: int = 0, frames: tp.Optional[int] = None) -> torch.Tensor:
        """Samples [A, L] of the stem `source`, or of "mixture", at the rate of the file: at most `frames` from sample
        `start` on (None: to the end).

        If files are added up, mono files are repeated to the number of channels of the others. A stem that ends before
        the song has fewer samples, and a silent one is [1, 0]: `lengthened` appends the silence.

        Raises:
            AudioError: as `audio.reading.read`, or if the mixture is unknown.
        """
        return self.load(source, start, frames)[0]

    def load(self, source: str, start: int = 0, frames: tp.Optional[int] = None) -> tp.Tuple[torch.Tensor, int]:
        """(samples, sample rate in Hz, which is 0 for a silent stem); arguments, samples and errors are those of
        `read`."""
        if source != MIXTURE or self.mixture:
            parts = [read_part(part, start, frames) for part in self.files(source)]
            return added([wav for wav, _ in parts]), parts[0][1] if parts else 0
        if not self.mixed:
            raise AudioError(f"{self.folder}: has no {MIXTURE}.wav, and its stems do not tell what the song is")
        parts = [self.load(stem, start, frames) for stem in self.mixed if self.stems[stem]]
        return added([wav for wav, _ in parts]), parts[0][1]


def added(wavs: tp.Sequence[torch.Tensor]) -> torch.Tensor:
    """Sum [A, L] of waveforms [A, L]; mono ones are repeated to the number of channels of the others, and shorter ones
    end in silence. A single waveform is returned itself; [1, 0] if there are none."""
    if len(wavs) == 1:
        return wavs[0]
    if not wavs:
        return torch.zeros(1, 0)
    channels, length = (max(wav.shape[dim] for wav in wavs) for dim in (0, 1))
    wavs = [lengthened(convert_channels(wav, channels), length) for wav in wavs]
    if len(wavs) > MANY:
        return torch.stack(wavs).sum(dim=0)
    total = wavs[0].numpy().copy()
    for wav in wavs[1:]:
        total += wav.numpy()        # torch would use its threads, for which the threads of a scan compete
    return torch.from_numpy(total)


def lengthened(wav: torch.Tensor, length: int) -> torch.Tensor:
    """`wav` [A, L] with silence appended, up to `length` samples at least."""
    return F.pad(wav, (0, length - wav.shape[-1])) if wav.shape[-1] < length else wav


class Tracks(tp.NamedTuple):
    """Songs that were found in the folder `root` of a dataset, and the faults of unusable ones, one sentence each."""
    root: Path
    tracks: tp.List[Track]
    faults: tp.List[str]

    def select(self, keep: tp.Callable[[str], bool]) -> "Tracks":
        """The songs for whose name `keep` returns True; all faults are kept."""
        return self._replace(tracks=[track for track in self.tracks if keep(track.name)])
