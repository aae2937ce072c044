"""Writing of wav, flac and mp3 files from blocks of samples, with the content that `public.save_audio` writes at
once."""

import contextlib
import os
import tempfile
import typing as tp
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..errors import AudioError
from . import public, reading
from .writing import opened_mp3, opened_sound, unwritable

IN_MEMORY = 2 ** 22         # bytes of a signal that are kept in memory before it is rescaled; more are on disk
BLOCK = 2 ** 18             # samples that are rescaled at a time


@dataclass(frozen=True)
class Encoding:
    """How files are written: the arguments of `public.save_audio` of the same names, with its defaults."""
    bitrate: int = 320
    bits_per_sample: int = 16
    as_float: bool = False
    preset: int = 2


class BlockWriter:
    """Audio file that is written block by block: a context manager with the method `write`. The file appears when the
    context ends, complete; if an exception leaves the context, a previous file is kept.

    With `clip` = "rescale", samples are kept in a temporary file in the folder of `path` until the peak is known, and
    encoded when the context ends.

    Args:
        path: file with the suffix .wav, .flac or .mp3. Its folder must exist.
        length: number of samples per channel in all.
        channels, samplerate: of the audio; the rate is in Hz.
        clip: mode of `public.prevent_clip`.
        encoding: see `Encoding`.

    Raises:
        AudioError: as `public.save_audio`; on leaving the context also for samples that are not finite.
    """

    def __init__(self, path: tp.Union[str, Path], length: int, channels: int, samplerate: int, *, clip: str = "rescale",
                 encoding: Encoding = Encoding()):
        self.path = Path(path)
        self._suffix = public._format(self.path, encoding.bits_per_sample)
        self._length, self._channels, self._samplerate = length, channels, samplerate
        self._clip, self._encoding = clip, encoding
        self._peak = 0.
        self._stack = contextlib.ExitStack()
        self._spool: tp.Optional[tp.Any] = None
        self._write: tp.Optional[tp.Callable[[np.ndarray], None]] = None

    def __enter__(self) -> "BlockWriter":
        if self._clip == "rescale":
            with self._named():
                os.stat(self.path.absolute().parent)
                self._spool = self._stack.enter_context(
                    tempfile.SpooledTemporaryFile(IN_MEMORY, dir=self.path.absolute().parent))
        else:
            self._write = self._stack.enter_context(self._opened())
        return self

    def __exit__(self, kind: tp.Optional[tp.Type[BaseException]], error: tp.Any, trace: tp.Any) -> None:
        if kind is None:
            try:
                self.finish()
            except BaseException as failure:
                self._stack.__exit__(type(failure), failure, failure.__traceback__)
                raise
        self._stack.__exit__(kind, error, trace)

    def write(self, wav: torch.Tensor) -> None:
        """Append the block `wav` [A, n] of floats."""
        wav = wav.detach().to("cpu", torch.float32)
        if self._spool is None:
            self._encode(public.prevent_clip(wav, self._clip))
            return
        peak = reading._peak(wav)
        self._peak = peak if not peak <= self._peak else self._peak         # NaN stays
        with self._named():
            self._spool.write(wav.T.contiguous().numpy().tobytes())

    def finish(self) -> None:
        """Encode what was kept for rescaling."""
        if self._spool is None:
            return
        if not np.isfinite(self._peak):
            raise AudioError(f"{self.path}: samples are not finite numbers (NaN or infinity)")
        divisor = max(1.01 * self._peak, 1.0)                              # as `reading.prevent_clip`
        self._spool.seek(0)
        with self._opened() as self._write:
            while data := self._spool.read(4 * self._channels * BLOCK):
                samples = torch.frombuffer(bytearray(data), dtype=torch.float32).reshape(-1, self._channels)
                self._encode(samples.T / divisor)
        self._spool.close()                                                # frees the disk for the next file

    def _encode(self, wav: torch.Tensor) -> None:
        assert self._write is not None
        reading.require_finite(wav, self.path, self._samplerate)
        floats = self._encoding.as_float and self._suffix == ".wav"
        bits = 16 if self._suffix == ".mp3" else self._encoding.bits_per_sample
        self._write(public._floats(wav) if floats else public._integers(wav, bits))

    def _opened(self) -> tp.ContextManager[tp.Callable[[np.ndarray], None]]:
        chosen = self._encoding
        if self._suffix == ".mp3":
            return opened_mp3(self.path, self._channels, self._samplerate, bitrate=chosen.bitrate,
                              quality=chosen.preset)
        subtype = "FLOAT" if chosen.as_float and self._suffix == ".wav" else f"PCM_{chosen.bits_per_sample}"
        return opened_sound(self.path, self._length, self._channels, self._samplerate, subtype=subtype,
                            form=self._suffix[1:].upper())

    @contextlib.contextmanager
    def _named(self) -> tp.Iterator[None]:
        try:
            yield
        except OSError as error:
            raise unwritable(self.path, error) from error


def kept_on_disk(length: int, channels: int, clip: str) -> int:
    """Bytes of the temporary file of a `BlockWriter` for `length` samples per channel."""
    size = 4 * length * channels
    return size if clip == "rescale" and size > IN_MEMORY else 0
