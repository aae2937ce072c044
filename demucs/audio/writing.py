"""Atomic writing of wav, flac and mp3 files, shared by all writers."""

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

LARGEST_RIFF = 2 ** 32 - 2 ** 16     # maximum bytes of samples, since sizes in a RIFF header have 32 bits
WIDTHS = {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4}


class _Sink:
    """File object for libsndfile that stores the first OSError: libsndfile only reports "System error", and exceptions
    in its callbacks are printed by Python."""

    def __init__(self, file: tp.BinaryIO):
        self._file = file
        self.failure: tp.Optional[OSError] = None

    def write(self, data: tp.Any) -> int:
        return self._try(self._file.write, data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:       # seeking may have to write the buffer
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
    """Write an audio file atomically from `samples` [L, A] of a type that libsndfile supports. `form` is "WAV" or
    "FLAC", `subtype` an encoding in WIDTHS. The folder must exist.

    A wav file that is too long for the sizes in its header is written as RF64, its 64-bit variant, which libsndfile,
    ffmpeg and audio editors read.

    Raises:
        AudioError: if libsndfile does not support the format, or the file cannot be written; a previous file is then
            kept.
    """
    with opened_sound(path, len(samples), samples.shape[1], samplerate, subtype=subtype, form=form) as write:
        write(samples)


Write = tp.Callable[[np.ndarray], None]


@contextlib.contextmanager
def opened_sound(path: tp.Union[str, Path], length: int, channels: int, samplerate: int, *, subtype: str, form: str
                 ) -> tp.Iterator[Write]:
    """Context with a function that appends samples [n, A] to the file of `write_samples`, `length` of them in all. If
    an exception leaves the context, a previous file is kept."""
    check_rate(path, samplerate)
    if form == "WAV" and length * channels * WIDTHS[subtype] > LARGEST_RIFF:
        form = "RF64"
    with _opened(path) as file:
        sink = _Sink(file)
        try:
            with soundfile.SoundFile(sink, "w", samplerate, channels, subtype, format=form) as sound:
                yield sound.write
        except (soundfile.LibsndfileError, AssertionError) as error:     # soundfile asserts that everything was written
            if sink.failure is None:
                reason = getattr(error, "error_string", "incomplete").rstrip(".")
                raise AudioError(f"{path}: {form} of {samplerate} Hz with {channels} channels cannot be "
                                 f"written ({reason})") from error
        if sink.failure is not None:
            raise sink.failure


def write_mp3(path: tp.Union[str, Path], samples: np.ndarray, samplerate: int, *, bitrate: int, quality: int,
              verbose: bool = False) -> None:
    """Write an mp3 file atomically from 16-bit `samples` [L, A], at `bitrate` kbit/s; `quality` is from 2 (best) to 7
    (fastest). The folder must exist. With `verbose`, LAME prints its messages.

    Raises:
        AudioError: for settings that mp3 or LAME do not support (see `encoding.check_mp3`), or if the file cannot be
            written.
    """
    with opened_mp3(path, samples.shape[1], samplerate, bitrate=bitrate, quality=quality, verbose=verbose) as write:
        write(samples)


@contextlib.contextmanager
def opened_mp3(path: tp.Union[str, Path], channels: int, samplerate: int, *, bitrate: int, quality: int,
               verbose: bool = False) -> tp.Iterator[Write]:
    """Context with a function that appends 16-bit samples [n, A] to the file of `write_mp3`. If an exception leaves the
    context, a previous file is kept."""
    check_mp3(path, samplerate, bitrate, quality)
    encoder = lameenc.Encoder()
    if not verbose:
        encoder.silence()

    def refused(call: tp.Callable[..., tp.Any], *data: tp.Any) -> tp.Any:
        try:
            return call(*data)
        except (RuntimeError, ValueError, TypeError, OverflowError) as error:
            raise AudioError(f"{path}: LAME refuses {channels} channels, {samplerate} Hz, {bitrate} kbit/s, quality "
                             f"{quality}: {error}") from error

    for call, value in ((encoder.set_bit_rate, bitrate), (encoder.set_in_sample_rate, samplerate),
                        (encoder.set_channels, channels), (encoder.set_quality, quality)):
        refused(call, value)
    with _opened(path) as file:
        yield lambda samples: tp.cast(None, file.write(refused(encoder.encode, samples.astype("<i2").tobytes())))
        file.write(refused(encoder.flush))


@contextlib.contextmanager
def _opened(path: tp.Union[str, Path]) -> tp.Iterator[tp.BinaryIO]:
    """`atomic` in an existing folder. Raises AudioError if the file cannot be written."""
    try:
        os.stat(Path(path).absolute().parent)
        with atomic(path) as file:
            yield file
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: tp.Union[str, Path], error: OSError) -> AudioError:
    """Error to raise if `error` prevented the writing of the file `path`, with advice."""
    hint = {errno.ENOSPC: "free some space, or choose another folder", errno.EDQUOT: "your quota is used up",
            errno.EACCES: "make the folder writable, or choose another one",
            errno.EROFS: "choose a folder on another file system"}.get(error.errno or 0)
    reason = error.strerror or describe_os_error(error)
    return AudioError(f"{path}: cannot be written ({reason})" + (f"; {hint}" if hint else ""))
