"""Stems of earlier calls: are they complete?"""

import typing as tp
from pathlib import Path

import soundfile

from ..audio import mp3, reading
from ..audio.block_writer import Encoding
from ..dsp.block_resampling import resampled_length
from ..errors import DemucsError

EXACT = ("WAV", "FLAC", "AIFF", "AU", "CAF", "W64", "RF64", "WAVEX")     # formats whose header has the exact length
DELAY = 1105                 # samples of delay of LAME (576) and of a decoder (529), which come before the song
LATE = 4                     # mp3 frames of delay and padding, at most


def length_in_header(song: Path, samplerate: int) -> tp.Optional[int]:
    """Number of samples per channel at `samplerate` Hz of the song in a file, if its header has it exactly; otherwise
    None, also for a file that cannot be read."""
    try:
        if not song.is_file() or reading.kind(song)[0] not in EXACT:
            return None
        info = reading.probe(song)
    except (DemucsError, OSError):
        return None
    return resampled_length(info.frames, info.samplerate, samplerate)


def all_whole(paths: tp.Iterable[Path], length: int, channels: int, samplerate: int, encoding: Encoding) -> bool:
    """Whether each of `paths` is a stem that `audio.block_writer` has written completely with these settings, for a
    song of `length` samples per channel."""
    return all(_whole(path, length, channels, samplerate, encoding) for path in paths)


def _whole(path: Path, length: int, channels: int, samplerate: int, encoding: Encoding) -> bool:
    try:
        if not path.is_file():
            return False
        if path.suffix.lower() == ".mp3":
            return _whole_mp3(path, length, channels, samplerate)
        info = reading.probe(path)                            # raises an error for a truncated wav file
        if (info.frames, info.channels, info.samplerate) != (length, channels, samplerate):
            return False
        floats = encoding.as_float and path.suffix.lower() == ".wav"
        if soundfile.info(str(path)).subtype != ("FLOAT" if floats else f"PCM_{encoding.bits_per_sample}"):
            return False
        return reading.read(path, start=length - 1)[0].shape[-1] == 1      # a truncated flac file has no end
    except (DemucsError, OSError, soundfile.LibsndfileError):
        return False


def _whole_mp3(path: Path, length: int, channels: int, samplerate: int) -> bool:
    """As `_whole`; the frames are counted, since the header does not have the length."""
    try:
        with mp3.FrameFile(path) as file:
            song = length * file.first.rate / samplerate              # LAME lowers the rate for the lowest bit rates
            return file.first.channels == channels and \
                song + DELAY <= file.count <= song + LATE * file.first.samples
    except ValueError:
        return False
