"""Sequential reading of audio files in blocks, so that every file is decoded once and in constant memory."""

import typing as tp
from pathlib import Path

import numpy as np
import soundfile
import torch

from ..errors import AudioError, DemucsError, exhausted_memory
from . import reading
from .ffmpeg import existing_file

STEPS = 2. ** 15       # of 16-bit samples, per unit

Load = tp.Callable[[], tp.Tuple[torch.Tensor, int]]


class BlockReader:
    """Audio file that is read from its beginning to its end, a context manager.

    libsndfile decodes block by block. A file that only ffmpeg supports is decoded as a whole when it is opened.

    Args:
        path: the file.
        load: function that returns (samples [A, L], sample rate in Hz) of audio that is a part of a file, such as one
            of several streams. By default, `path` is decoded.

    Attributes:
        path: absolute path of the file.
        samplerate: sample rate in Hz.
        channels: number of channels.
        form: format and encoding, such as "WAV PCM_16"; "ffmpeg" for a file that ffmpeg decodes.

    Raises:
        AudioError: as `reading.read`, on opening or by `next`.
        OSError: if the file cannot be opened.
    """

    def __init__(self, path: tp.Union[str, Path], load: tp.Optional[Load] = None):
        self.path = existing_file(path)
        self._load = load
        self._file: tp.Optional[soundfile.SoundFile] = None
        self._rest: tp.Optional[np.ndarray] = None
        self._count = 0
        self._guarded(self._open)

    def _open(self) -> None:
        self._file = reading._open(self.path) if self._load is None else None
        if self._file is None:
            wav, self.samplerate = reading.read(self.path) if self._load is None else self._load()
            self._rest, self.channels, self.form, self._promised = wav.numpy(), len(wav), "ffmpeg", None
            return
        self.samplerate, self.channels = self._file.samplerate, self._file.channels
        self.form = f"{self._file.format} {self._file.subtype}"
        exact = self._file.subtype not in reading.ESTIMATED and self._file.frames < reading.UNKNOWN
        self._promised = self._file.frames if exact else None

    def __enter__(self) -> "BlockReader":
        return self

    def __exit__(self, *_: tp.Any) -> None:
        if self._file is not None:
            self._file.close()

    def next(self, frames: int) -> np.ndarray:
        """The next samples [A, L] in float32, at most `frames`; none at the end of the file."""
        wav = self._guarded(lambda: self._decoded(frames))
        self._count += wav.shape[1]
        if not self._count and not wav.shape[1]:
            raise AudioError(f"{self.path}: contains no audio samples (zero length)")
        if wav.shape[1] < frames and self._promised is not None and self._count < self._promised:
            raise AudioError(f"{self.path}: truncated or damaged: {self._count} samples can be decoded, the header "
                             f"promises {self._promised}; copy or download it again")
        return wav

    def _decoded(self, frames: int) -> np.ndarray:
        if self._rest is not None:
            wav, self._rest = self._rest[:, :frames], self._rest[:, frames:]
            return wav
        assert self._file is not None
        if self._file.subtype == "PCM_16":        # converting here is several times faster than in libsndfile
            buffer = np.empty((frames, self.channels), np.int16)
            try:
                read = self._file.read(out=buffer)
            except soundfile.LibsndfileError as error:
                raise AudioError(f"{self.path}: damaged after sample {self._count} ({error.error_string.rstrip('.')}); "
                                 f"copy or download it again") from error
            wav = read.T.astype(np.float32, order="C")
            wav *= 1 / STEPS
            return wav
        samples, _ = reading._decode(self._file, frames)
        return np.ascontiguousarray(samples.T)

    def _guarded(self, work: tp.Callable[[], tp.Any]) -> tp.Any:
        """Result of `work`; unexpected exceptions become an AudioError with the name of the file."""
        try:
            return work()
        except (DemucsError, OSError):
            raise
        except Exception as error:
            if exhausted_memory(error):
                raise
            raise AudioError(f"{self.path}: cannot be decoded ({type(error).__name__}: {error}); copy or download it "
                             f"again") from error
