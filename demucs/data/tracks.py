"""Songs with their stems, for training and evaluation: the files of each stem, and how they are read."""

import typing as tp
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..audio import reading
from ..dsp.convert import convert_channels
from ..errors import AudioError

MIXTURE = "mixture"
SUFFIXES = (".wav", ".flac", ".mp3", ".ogg")    # of stems; the first existing one is read
Files = tp.Tuple[Path, ...]


@dataclass(frozen=True)
class Track:
    """A song of a dataset: the files of its stems and of its mixture.

    Attributes:
        name: unique within its dataset.
        stems: source -> files that add up to it.
        mixture: files of the mixture; if empty, the mixture is the sum of the stems in `mixed`.
        mixed: stems that add up to the song, for songs without a mixture file; empty if unknown.
        folder: of the song, for messages.
    """
    name: str
    stems: tp.Mapping[str, Files]
    mixture: Files = ()
    mixed: tp.Tuple[str, ...] = ()
    folder: Path = field(default=Path("."), compare=False)

    def files(self, source: str) -> Files:
        """Files of the stem `source`, or of "mixture", which may have none."""
        return self.mixture if source == MIXTURE else self.stems[source]

    def read(self, source: str, start: int = 0, frames: tp.Optional[int] = None) -> torch.Tensor:
        """Samples [A, L] of the stem `source`, or of "mixture", at the rate of the file: at most `frames` from sample
        `start` on (None: to the end).

        If files are added up, mono files are repeated to the number of channels of the others.

        Raises:
            AudioError: as `audio.reading.read`, or if the mixture is unknown.
        """
        return self.load(source, start, frames)[0]

    def load(self, source: str, start: int = 0, frames: tp.Optional[int] = None) -> tp.Tuple[torch.Tensor, int]:
        """(samples, sample rate in Hz); arguments, samples and errors are those of `read`."""
        if source != MIXTURE or self.mixture:
            parts = [reading.read(path, start, frames) for path in self.files(source)]
            return added([wav for wav, _ in parts]), parts[0][1]
        if not self.mixed:
            raise AudioError(f"{self.folder}: has no {MIXTURE}.wav, and its stems do not tell what the song is")
        parts = [self.load(stem, start, frames) for stem in self.mixed]
        return added([wav for wav, _ in parts]), parts[0][1]


def added(wavs: tp.Sequence[torch.Tensor]) -> torch.Tensor:
    """Sum [A, L] of waveforms [A, L] of one length; mono ones are repeated to the number of channels of the others. A
    single waveform is returned itself."""
    if len(wavs) == 1:
        return wavs[0]
    channels = max(len(wav) for wav in wavs)
    return torch.stack([convert_channels(wav, channels) for wav in wavs]).sum(dim=0)


class Tracks(tp.NamedTuple):
    """Songs that were found in the folder `root` of a dataset, and the faults of unusable ones, one sentence each."""
    root: Path
    tracks: tp.List[Track]
    faults: tp.List[str]

    def select(self, keep: tp.Callable[[str], bool]) -> "Tracks":
        """The songs for whose name `keep` returns True; all faults are kept."""
        return self._replace(tracks=[track for track in self.tracks if keep(track.name)])
