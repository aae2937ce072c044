"""Decoding of songs in blocks, from the beginning and as often as needed, so that memory does not depend on their
length.

The samples are those that `separation.song.load_song` decodes at once. Files for which that takes several attempts
(damaged ones, or several files in one) have no decoder here.
"""

import subprocess
import tempfile
import typing as tp
from pathlib import Path

import numpy as np
import soundfile
import torch

from ..errors import AudioError
from ..notes import without_library_notes
from . import ffmpeg, headers, joined, mp3, programs, reading, streams
from .sequential import SequentialFile

FRAMES = 2 ** 18            # samples per block


class Irregular(Exception):
    """Reason why a file cannot be decoded in blocks: it is damaged, truncated, or several files in one."""


class Decoder:
    """Audio of a file. `blocks` decodes it from the beginning.

    Attributes:
        samplerate: sample rate in Hz of the blocks.
        complaint: message about damage, known once all blocks were read; "" if there is none.
    """
    samplerate: int
    complaint = ""

    def blocks(self) -> tp.Iterator[torch.Tensor]:
        """Consecutive blocks [A, n] float32 of the audio.

        Raises:
            Irregular: at the first damage.
            AudioError: if it cannot be decoded.
        """
        raise NotImplementedError


class SoundFileDecoder(Decoder):
    """Audio of a file that libsndfile reads. Raises Irregular for a truncated file."""

    def __init__(self, path: Path):
        self.path = path
        promise = headers.promise(path)
        if promise is not None and promise.truncated:
            raise Irregular(f"{path}: truncated")
        with self._open() as file:
            self.samplerate = file.samplerate

    def _open(self) -> soundfile.SoundFile:
        file = reading._open(self.path, complete=False)
        if file is None or file.frames <= 0:
            raise Irregular(f"{self.path}: has no samples, or is no file for libsndfile")
        return file

    def blocks(self) -> tp.Iterator[torch.Tensor]:
        with self._open() as file:
            exact = file.subtype not in reading.ESTIMATED and file.frames < reading.UNKNOWN
            left, error = file.frames, None
            while left and error is None:
                samples, error = reading._decode(file, min(left, FRAMES))
                if not len(samples):
                    break
                left -= len(samples)
                yield torch.from_numpy(np.ascontiguousarray(samples.T))
            if exact and left or error is not None:
                raise Irregular(f"{self.path}: damaged")


class Mp3Decoder(Decoder):
    """Audio of an mp3 file including encoder delay and padding; see `mp3`. Raises Irregular if frames are missing, or
    differ in sample rate or number of channels."""

    def __init__(self, path: Path):
        self.path = path
        with self._open()[1] as file:
            self.samplerate = file.samplerate

    def _open(self) -> tp.Tuple[mp3.FrameFile, soundfile.SoundFile]:
        try:
            source = mp3.FrameFile(self.path)
        except ValueError as error:
            raise Irregular(f"{self.path}: {error}") from error
        try:
            with without_library_notes():
                return source, SequentialFile(source)
        except soundfile.LibsndfileError as error:
            raise Irregular(f"{self.path}: damaged ({error.error_string})") from error

    def blocks(self) -> tp.Iterator[torch.Tensor]:
        source, file = self._open()
        silent = source.silent
        with file:
            while True:
                try:
                    with without_library_notes():
                        samples = file.read(FRAMES, dtype="float32", always_2d=True)
                except soundfile.LibsndfileError as error:
                    raise Irregular(f"{self.path}: damaged ({error.error_string})") from error
                if len(samples) > silent:
                    yield torch.from_numpy(np.ascontiguousarray(samples[silent:].T))
                silent = max(0, silent - len(samples))
                if len(samples) < FRAMES:
                    return


class FfmpegDecoder(Decoder):
    """First audio stream of a file, decoded by ffmpeg, with the messages of `streams.read_first` about damage.

    Args:
        path: an existing file.
        samplerate: sample rate in Hz to which ffmpeg resamples; None: that of the stream.
        padding: include the delay and padding that players skip according to the file.

    Raises:
        AudioError: if there is no audio stream.
        ToolError: if ffmpeg is not installed.
    """

    def __init__(self, path: Path, *, samplerate: tp.Optional[int] = None, padding: bool = False):
        self.path = path
        description = streams.describe(path)
        indices = streams.audio_streams(description)
        if not indices:
            raise AudioError(f"{path}: has no audio stream")
        self._promised = streams.seconds_of(description, indices[0]) or 0.
        self._command = ffmpeg.decoding(path, f"0:{indices[0]}",
                                        before=["-flags2", "+skip_manual"] if padding else [],
                                        after=[] if samplerate is None else ["-ar", str(samplerate)])
        self.samplerate = samplerate or 0        # until the first block is decoded

    def blocks(self) -> tp.Iterator[torch.Tensor]:
        given, said = 0, b""
        for attempt in range(programs.TRIES):
            with tempfile.TemporaryFile() as errors:
                process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                           stderr=errors)
                try:
                    found = 0
                    for block in self._decoded(tp.cast(tp.BinaryIO, process.stdout)):
                        new = block[:, max(0, given - found):]      # what another attempt has not decoded
                        found += block.shape[1]
                        if new.shape[1]:
                            given += new.shape[1]
                            yield new
                    status = process.wait()
                finally:
                    if process.poll() is None:
                        process.kill()
                        process.wait()
                    assert process.stdout is not None
                    process.stdout.close()
                errors.seek(0)
                said = errors.read()
            if status >= 0 and b"received signal" not in said:       # as in `programs.call`
                break
        self._judge(given, status, ffmpeg.complaint(said, self.path))

    def _decoded(self, pipe: tp.BinaryIO) -> tp.Iterator[torch.Tensor]:
        head, header = b"", None
        while header is None:
            more = pipe.read(1 << 12)
            if not more:
                return
            head += more
            header = ffmpeg._wav_header(head)
        channels, self.samplerate, start = header
        data = head[start:]
        while True:
            data += pipe.read(max(0, FRAMES * 4 * channels - len(data)))
            whole = len(data) // (4 * channels)
            if not whole:
                return
            samples = np.frombuffer(data, "<f4", count=whole * channels).reshape(-1, channels)
            data = data[4 * channels * whole:]
            yield torch.from_numpy(samples.T.astype(np.float32, order="C"))

    def _judge(self, count: int, status: int, said: str) -> None:
        if not count and (status or not self.samplerate):
            raise AudioError(f"{self.path}: not audio that ffmpeg or libsndfile can read ({said or 'no reason given'})")
        if not count:
            raise AudioError(f"{self.path}: contains no audio samples (zero length)")
        found = count / self.samplerate
        if found < self._promised - streams.SHORTFALL:
            self.complaint = (f"damaged: only {found:.1f} of {self._promised:.1f} s can be decoded "
                              f"({said or 'the rest is not there'})")
        elif said:
            self.complaint = f"in part damaged (ffmpeg: {said})"


def decoder(path: Path, samplerate: int) -> Decoder:
    """Decoder of the file `path`. Its blocks have `samplerate` Hz if ffmpeg resamples, otherwise the rate of the file.

    Raises:
        Irregular: if it cannot be decoded in blocks.
        AudioError: if the file is missing, empty, or not audio.
        ToolError: if only ffmpeg could read it and ffmpeg is not installed.
    """
    path = ffmpeg.existing_file(path)
    if joined.holds_several(path):
        raise Irregular(f"{path}: several files in one")
    form, coding = reading.kind(path)
    if form is None or coding == "GSM610" and ffmpeg.installed():
        return FfmpegDecoder(path, samplerate=samplerate)
    if form == "OGG" and ffmpeg.installed():
        return FfmpegDecoder(path, padding=True) if coding == "VORBIS" else FfmpegDecoder(path, samplerate=samplerate)
    return Mp3Decoder(path) if form == "MP3" else SoundFileDecoder(path)
