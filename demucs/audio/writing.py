"""Samples into audio files that are whole or not there: what all writers of wav, flac and mp3 share."""

import contextlib
import errno
import os
import typing as tp
from pathlib import Path

import lameenc
import numpy as np
import soundfile

from ..errors import AudioError, describe_os_error
from ..files import atomic
from .encoding import check_mp3, check_rate

LARGEST_RIFF = 2 ** 32 - 2 ** 16     # bytes of samples; the sizes in a RIFF header have 32 bits
WIDTHS = {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4}


class _Sink:
    """A file for libsndfile that remembers what went wrong: libsndfile itself only says "System error", and Python prints what
    its callbacks raise."""

    def __init__(self, file: tp.BinaryIO):
        self._file = file
        self.failure: tp.Optional[OSError] = None

    def write(self, data: tp.Any) -> int:
        return self._try(self._file.write, data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:       # which may have to write what is in the buffer
        return self._try(self._file.seek, offset, whence)

    def tell(self) -> int:
        return self._try(self._file.tell)

    def _try(self, call: tp.Callable[..., int], *arguments: tp.Any) -> int:
        if self.failure is None:
            try:
                return call(*arguments)
            except OSError as error:
                self.failure = error
        return 0


def write_samples(path: tp.Union[str, Path], samples: np.ndarray, samplerate: int, *, subtype: str, form: str) -> None:
    """Write `samples` [L, A] of a type that libsndfile takes. `form` is "WAV" or "FLAC", `subtype` a coding in WIDTHS.

    A wav file that is too long for the sizes in its header is written as RF64, its 64-bit form, which libsndfile, ffmpeg and
    audio editors read.

    Raises:
        AudioError: where libsndfile cannot write that, or the file cannot be written.
    """
    check_rate(path, samplerate)
    if form == "WAV" and samples.size * WIDTHS[subtype] > LARGEST_RIFF:
        form = "RF64"
    with _opened(path) as file:
        sink = _Sink(file)
        try:
            soundfile.write(sink, samples, samplerate, subtype=subtype, format=form)
        except (soundfile.LibsndfileError, AssertionError) as error:     # an assertion: that all has been written
            if sink.failure is None:
                reason = getattr(error, "error_string", "incomplete").rstrip(".")
                raise AudioError(f"{path}: {form} of {samplerate} Hz with {samples.shape[1]} channels cannot be written "
                                 f"({reason})") from error
        if sink.failure is not None:
            raise sink.failure


def write_mp3(path: tp.Union[str, Path], samples: np.ndarray, samplerate: int, *, bitrate: int, quality: int,
              verbose: bool = False) -> None:
    """Write 16-bit `samples` [L, A] at `bitrate` kbit/s; `quality` from 2 (best) to 7 (fastest). See `encoding.check_mp3`.

    Raises:
        AudioError: for what mp3 does not hold or LAME refuses, or where the file cannot be written.
    """
    check_mp3(path, samplerate, bitrate, quality)
    channels = samples.shape[1]
    encoder = lameenc.Encoder()
    if not verbose:
        encoder.silence()
    try:
        encoder.set_bit_rate(bitrate)
        encoder.set_in_sample_rate(samplerate)
        encoder.set_channels(channels)
        encoder.set_quality(quality)
        data = encoder.encode(samples.astype("<i2").tobytes()) + encoder.flush()
    except (RuntimeError, ValueError, TypeError, OverflowError) as error:
        raise AudioError(f"{path}: LAME refuses {channels} channels, {samplerate} Hz, {bitrate} kbit/s, quality {quality}: "
                         f"{error}") from error
    with _opened(path) as file:
        file.write(data)


@contextlib.contextmanager
def _opened(path: tp.Union[str, Path]) -> tp.Iterator[tp.BinaryIO]:
    """`atomic` in a folder that is there already. Raises AudioError where the file cannot be written."""
    try:
        os.stat(Path(path).absolute().parent)
        with atomic(path) as file:
            yield file
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: tp.Union[str, Path], error: OSError) -> AudioError:
    """What to say where a file could not be written; what was under its name before is still there."""
    hint = {errno.ENOSPC: "free some space, or choose another folder", errno.EDQUOT: "your quota is used up",
            errno.EACCES: "make the folder writable, or choose another one",
            errno.EROFS: "choose a folder on another file system"}.get(error.errno or 0)
    reason = error.strerror or describe_os_error(error)
    return AudioError(f"{path}: cannot be written ({reason})" + (f"; {hint}" if hint else ""))
